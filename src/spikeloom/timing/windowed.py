"""Neurons that fire inside a window of their own, after all their inputs, under a threshold that falls to 0 at its end."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.core.params import Choice
from spikeloom.timing.base import TimingLayer
from spikeloom.timing.wiring import sliding

EMITS = Choice(("times", "membrane"), "what leaves the layer")


def windowed_times(
    t_in: Tensor, weight: Tensor, start: float, end: float, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """When V_j(t) = sum_i w_ji (t - t_i) reaches the threshold end - t within the window [start, end]. Wei et al. 2023.

    Every input fires before the window or never (infinity), so that the causal set is all that fire and
    t_j = (end + sum w_ji t_i) / (1 + sum w_ji). A neuron that is above the threshold when the window opens fires at `start` and passes no
    gradient; one that stays below it does not fire. One that no input reaches meets the threshold, 0, at the end.

    t_in `[B, in]` with weight `[out, in]` gives `[B, out]`; `[B, C, H, W]` with `[out, C, kh, kw]`, stride and padding a convolution.
    Raises ShapeError or ParameterError for what does not fit, inputs after `start` and NaN among it.
    """
    length = end - start
    total, moment = _sums(t_in, weight, start, end, stride, padding)
    early = -moment >= length
    fires = (total > -1) & (moment <= length * total) & ~early
    when = start + (length + moment) / (1 + total).where(fires, 1.0)
    return when.where(fires, torch.inf).masked_fill(early, start)


def windowed_membrane(
    t_in: Tensor, weight: Tensor, start: float, end: float, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """The potentials V_j at the end of the window, of neurons that never fire: what the last layer of Wei et al. 2023 reads."""
    total, moment = _sums(t_in, weight, start, end, stride, padding)
    return (end - start) * total - moment


def _sums(t_in: Tensor, weight: Tensor, start: float, end: float, stride: Any, padding: Any) -> tuple[Tensor, Tensor]:
    """sum w and sum w (t - start) over the inputs that fire."""
    if weight.dim() not in (2, 4) or t_in.dim() != weight.dim() or t_in.shape[1] != weight.shape[1]:
        given = f"{list(t_in.shape)} and {list(weight.shape)}"
        raise ShapeError(refusal("windowed t_in and weight", given, "[B, in] and [out, in], or [B, C, H, W] and [out, C, kh, kw]"))
    if not float("-inf") < start < end < float("inf"):
        raise ParameterError(refusal("windowed start, end", (start, end), "finite, the end after the start"))
    fired = t_in.isfinite()
    t = (t_in - start).masked_fill(~fired & (t_in > start), 0.0)
    if t.numel() and not (float("-inf") < t.detach().min() and t.detach().max() <= 0):  # NaN too
        raise ParameterError(refusal("windowed t_in", "times after the window's start, or NaN", f"at most {start:g}, or infinity"))
    both = torch.cat([fired.to(t.dtype), t])
    summed = F.linear(both, weight) if weight.dim() == 2 else F.conv2d(both, weight, None, stride, padding)
    total, moment = summed.chunk(2)
    return total, moment


class _Windowed(TimingLayer):
    """What the two layers share: `weight`, drawn from N(0, 2 / fan-in), and the window."""

    paper = bibliography.DFT

    def __init__(self, shape: tuple[int, ...], start: float, window: float, emits: str) -> None:
        super().__init__()
        self.start, self.window = start, window
        self.emits = EMITS.check(f"{type(self).__name__}.emits", emits)
        self.weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's generator."""
        nn.init.kaiming_normal_(self.weight)

    def forward(self, t: Tensor) -> Tensor:
        function = windowed_times if self.emits == "times" else windowed_membrane
        return function(t, self.weight, self.start, self.start + self.window, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, window=[{self.start:g}, {self.start + self.window:g}], emits={self.emits!r}"


class WindowedLinear(_Windowed):
    """A full connection `[B, inputs]` to `[B, outputs]`; its neurons fire from `start` to `start + window`, absolute times.

    emits: times, or (`"membrane"`) the potentials at the end. In a chain, a layer's window starts where that of the one before ends.
    """

    def __init__(self, inputs: int, outputs: int, *, start: float, window: float = 1.0, emits: str = "times") -> None:
        super().__init__((outputs, inputs), start, window, emits)


class WindowedConv2d(_Windowed):
    """The same as a convolution `[B, inputs, H, W]` to `[B, outputs, H', W']`; padding never fires."""

    def __init__(
        self, inputs: int, outputs: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, *, start: float, window: float = 1.0,
        emits: str = "times",
    ) -> None:  # fmt: skip
        super().__init__((outputs, inputs, *_pair(kernel_size)), start, window, emits)
        self.stride, self.padding = sliding("WindowedConv2d", stride, padding)
