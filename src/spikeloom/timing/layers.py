"""Layers of ReL-PSP neurons: spike times in, spike times out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from spikeloom.core import bibliography
from spikeloom.core.params import Count, Param
from spikeloom.timing.base import TimingLayer
from spikeloom.timing.relpsp import PUSH, SILENT, THRESHOLD, UNTIL, relpsp_conv2d_times, relpsp_times
from spikeloom.timing.wiring import sliding

MEAN = Param(1.0, low=0, low_open=True, doc="the sum of a neuron's weights at the start, in thresholds")
SPREAD = Param(1.0, low=0, doc="the standard deviation of that sum at the start, in thresholds")


class _RelPSP(TimingLayer):
    """What the two layers share: `weight`, its start, and the options of their neurons."""

    paper = bibliography.RELPSP

    def __init__(
        self, shape: tuple[int, ...], threshold: float, until: float, silent: str, push: float, mean: float, spread: float
    ) -> None:
        super().__init__()
        name = type(self).__name__
        for size in shape:
            Count(1, doc="sizes are positive").check(f"{name} size", size)
        self.threshold = float(THRESHOLD.check(f"{name}.threshold", threshold))
        self.until = float(UNTIL.check(f"{name}.until", until))
        self.silent = SILENT.check(f"{name}.silent", silent)
        self.push = float(PUSH.check(f"{name}.push", push))
        self.mean = float(MEAN.check(f"{name}.mean", mean))
        self.spread = float(SPREAD.check(f"{name}.spread", spread))
        self.weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's generator: N(mean / in, spread^2 / in) thresholds."""
        fan_in = self.weight[0].numel()
        nn.init.normal_(self.weight, self.mean * self.threshold / fan_in, self.spread * self.threshold / fan_in**0.5)

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, threshold={self.threshold:g}, silent={self.silent!r}"


class RelPSPLinear(_RelPSP):
    """A full connection of ReL-PSP neurons."""

    def __init__(
        self, inputs: int, outputs: int, *, threshold: float = 1.0, until: float = math.inf, silent: str = "push", push: float = 0.01,
        mean: float = 5.0, spread: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__((outputs, inputs), threshold, until, silent, push, mean, spread)

    def forward(self, t: Tensor) -> Tensor:
        return relpsp_times(t, self.weight, self.threshold, self.until, self.silent, self.push)


class RelPSPConv2d(_RelPSP):
    """A convolution."""

    def __init__(
        self, inputs: int, outputs: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, *, threshold: float = 1.0,
        until: float = math.inf, silent: str = "push", push: float = 0.01, mean: float = 5.0, spread: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__((outputs, inputs, *_pair(kernel_size)), threshold, until, silent, push, mean, spread)
        self.stride, self.padding = sliding("RelPSPConv2d", stride, padding)

    def forward(self, t: Tensor) -> Tensor:
        return relpsp_conv2d_times(t, self.weight, self.threshold, self.until, self.silent, self.push, self.stride, self.padding)
