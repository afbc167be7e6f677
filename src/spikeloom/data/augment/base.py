"""What an augmentation is."""

from torch import Generator, Tensor


class Augmentation:
    """A change of images `[B, C, H, W]`, uint8 or float, drawn for each image from `generator`, which lives on the CPU.

    The few numbers per image are drawn on the CPU and moved, so that every device sees the same ones.
    """

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        """Images of the same shape, dtype and device."""
        raise NotImplementedError
