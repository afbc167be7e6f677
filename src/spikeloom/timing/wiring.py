"""Which input reaches which neuron through which weight: all that tells a convolution from a full connection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

from spikeloom.core.errors import ParameterError, ShapeError, refusal

Pair = tuple[int, int]


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

    def rows(self, t: Tensor) -> Tensor:
        """What every place reads of t `[B, inputs]`: `[B * places, taps]`, infinity where it reads nothing; with its gradient."""
        wide = torch.cat([t, t.new_full((len(t), 1), math.inf)], 1)
        return wide.index_select(1, self.sources.flatten().to(t.device)).view(len(t) * self.places, self.taps)

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


def sliding(name: str, stride: Any, padding: Any) -> tuple[Pair, Pair]:
    """Stride and padding of a convolution as pairs. Raises ParameterError for a stride under 1 or a padding under 0."""
    stride, padding = _pair(stride), _pair(padding)
    if min(stride) < 1 or min(padding) < 0:
        raise ParameterError(refusal(f"{name} stride, padding", (stride, padding), "a stride >= 1, a padding >= 0"))
    return stride, padding


def patches(name: str, t: Tensor, window: Sequence[int], stride: Any, padding: Any) -> tuple[Wiring, Pair]:
    """The convolution over t `[B, C, H, W]` with a window `[kh, kw]`, and its height and width H', W'.

    Raises ShapeError for a window larger than the padded map, ParameterError as `sliding`.
    """
    stride, padding = sliding(name, stride, padding)
    size = t.shape[2:]
    high, wide = ((size[d] + 2 * padding[d] - window[d]) // stride[d] + 1 for d in range(2))
    if high < 1 or wide < 1:
        raise ShapeError(refusal(f"{name} t_in", list(t.shape), f"at least as large as the window {list(window)}, padded"))
    return conv2d(t.shape[1], (size[0], size[1]), (window[0], window[1]), stride, padding), (high, wide)


@lru_cache(64)
def conv2d(channels: int, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Wiring:
    """The places `[H' * W']` of a convolution over `[channels, H, W]`; taps in the order `[channels, kernel height, kernel width]`."""
    inputs = channels * size[0] * size[1]
    image = torch.arange(inputs).view(channels, *size)
    wide = torch.nn.functional.pad(image, (padding[1], padding[1], padding[0], padding[0]), value=inputs)
    windows = wide.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])  # [C, H', W', kh, kw]
    return Wiring(inputs, windows.permute(1, 2, 0, 3, 4).reshape(windows.shape[1] * windows.shape[2], -1))
