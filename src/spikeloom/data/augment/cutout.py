"""Cutout: a square of zeros at a uniform place (DeVries and Taylor 2017)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.paper import Paper
from spikeloom.data.augment.base import Augmentation


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Set a square of `size` x `size` pixels around a uniform centre to 0; it may reach over the border, as in the paper.

    The paper cuts standardised images, where 0 is the mean; on uint8 images 0 is black.
    """

    size: int = 16
    paper = Paper(
        "devries2017cutout", "Improved Regularization of Convolutional Neural Networks with Cutout",
        "DeVries, Terrance and Taylor, Graham W.", "arXiv:1708.04552", 2017, "https://arxiv.org/abs/1708.04552",
    )

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ParameterError(refusal("Cutout.size", self.size, "at least 1 pixel"))

    def apply(self, images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        inside = [self._span(count, length, generator) for length in (height, width)]
        rows, columns = (mask.to(images.device) for mask in inside)
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)

    def _span(self, count: int, length: int, generator: Generator) -> Tensor:
        start = torch.randint(length, (count, 1), generator=generator) - self.size // 2
        place = torch.arange(length)
        return (place >= start) & (place < start + self.size)  # [B, length]
