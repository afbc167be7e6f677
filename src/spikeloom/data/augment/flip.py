"""Flip: left to right, with probability one half."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from spikeloom.data.augment.base import Augmentation


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror each image left to right with probability 1/2."""

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        flipped = torch.randint(2, (len(images), 1, 1, 1), generator=generator).to(images.device) == 1
        return torch.where(flipped, images.flip(3), images)
