"""Which input reaches which neuron through which weight: all that tells a convolution from a full connection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Wiring:
    """Neurons stand at places; every place reads the same number of taps, each with the weight of that tap.

    inputs: per image. sources: the input that a tap reads, int64 `[places, taps]`; `inputs` where it reads nothing (padding).
    """

    inputs: int
    sources: Tensor

    @property
    def places(self) -> int:
        """Neurons per output channel."""
        return self.sources.shape[0]

    @property
    def taps(self) -> int:
        """Weights per output channel."""
        return self.sources.shape[1]

    def reversed(self) -> tuple[Tensor, Tensor, Tensor]:
        """By input, int32: where its synapses begin `[inputs + 1]` in the list of their places and in that of their taps `[synapses]`."""
        read = self.sources.flatten()
        order = read.argsort(stable=True)
        counts = torch.bincount(read, minlength=self.inputs + 1)[: self.inputs]
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        order = order[: int(start[-1])]
        return start.int(), (order // self.taps).int(), (order % self.taps).int()


@lru_cache(64)
def full(inputs: int) -> Wiring:
    """One place that reads every input."""
    return Wiring(inputs, torch.arange(inputs).unsqueeze(0))


@lru_cache(64)
def conv2d(channels: int, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Wiring:
    """The places `[H' * W']` of a convolution over `[channels, H, W]`; taps in the order `[channels, kernel height, kernel width]`."""
    inputs = channels * size[0] * size[1]
    image = torch.arange(inputs).view(channels, *size)
    wide = torch.nn.functional.pad(image, (padding[1], padding[1], padding[0], padding[0]), value=inputs)
    windows = wide.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])  # [C, H', W', kh, kw]
    return Wiring(inputs, windows.permute(1, 2, 0, 3, 4).reshape(windows.shape[1] * windows.shape[2], -1))
