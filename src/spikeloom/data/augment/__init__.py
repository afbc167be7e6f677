"""Augmentations of image batches, one file each; `augment.known` maps their names to classes."""

import sys

import torch
from torch import Tensor

from spikeloom.core import registry
from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.data.augment.base import Augmentation
from spikeloom.data.order import key

known: dict[str, type[Augmentation]] = {
    name.lower(): value for name, value in registry.classes(sys.modules[__name__], Augmentation).items()
}
__all__ = ["Augment", "Augmentation", "known", "normalise"]


class Augment:
    """Several augmentations in order: `Augment(("flip", "crop:2", Cutout(8)), seed)(images, epoch, batch_index)`.

    A name may carry its size after a colon: `"crop:2"` is `Crop(2)`.
    The draws are a pure function of (seed, rank, epoch, batch index), so that a resumed run repeats them bit for bit.
    """

    def __init__(self, names: tuple[str | Augmentation, ...] = (), seed: int = 0, rank: int = 0) -> None:
        self.augmentations = tuple(name if isinstance(name, Augmentation) else _named(name) for name in names)
        self.seed, self.rank = seed, rank

    def __call__(self, images: Tensor, epoch: int, batch_index: int) -> Tensor:
        """Augmented images of the same shape `[B, C, H, W]`, dtype and device; all frames of `[B, T, C, H, W]` change alike."""
        if images.dim() == 5:
            return self(images.flatten(1, 2), epoch, batch_index).unflatten(1, images.shape[1:3])
        generator = torch.Generator()
        generator.manual_seed(key(self.seed, self.rank, epoch, batch_index) >> 1)
        for augmentation in self.augmentations:
            images = augmentation.apply(images, generator)
        return images


def _named(text: str) -> Augmentation:
    name, _, size = text.partition(":")
    kind = registry.lookup("augmentation", name, known, ParameterError)
    if size and not size.isdigit():
        raise ParameterError(refusal(f"augmentation {name!r}", size, "a whole number of pixels after the colon", f"e.g. {name}:2"))
    try:
        return kind(int(size)) if size else kind()
    except TypeError:
        raise ParameterError(refusal("augmentation", text, f"{name!r} alone: it has no size")) from None


def normalise(images: Tensor, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)) -> Tensor:
    """uint8 images `[B, C, H, W]` -> float32, (pixel / 255 - mean) / std per channel; by default pixel / 255 in [0, 1]."""
    if images.dtype != torch.uint8:
        raise ShapeError(refusal("normalise images", str(images.dtype), "torch.uint8", "normalise once, after augmentation"))
    if len(mean) != len(std) or len(mean) not in (1, images.shape[1]):
        raise ShapeError(refusal("normalise mean and std", (len(mean), len(std)), f"one value for each of {images.shape[1]} channels"))
    centre, spread = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (mean, std))
    return images.to(torch.float32).div_(255).sub_(centre).div_(spread)
