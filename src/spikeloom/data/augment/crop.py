"""Crop: a random window of the zero-padded image, in other words a shift by up to `pad` pixels each way."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.data.augment.base import Augmentation


@dataclass(frozen=True)
class Crop(Augmentation):
    """Pad each side by `pad` pixels of 0 (black in uint8) and cut a window of the old size at a uniform place."""

    pad: int = 4

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ParameterError(refusal("Crop.pad", self.pad, "at least 0 pixels"))

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        padded = torch.nn.functional.pad(images, (self.pad,) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [B, C, 2 pad + 1, 2 pad + 1, H, W], a view
        place = torch.randint(2 * self.pad + 1, (3, count), generator=generator)
        place[0] = torch.arange(count)
        rows, top, left = place.to(images.device)
        return windows[rows, :, top, left]
