"""SpikeProp's neuron: a spike response model with several delays per synapse that fires once, and its exact gradients.

    x_j(t) = sum_i sum_k w_jik eps(t - t_i - d_k),   fires at the first t with x_j(t) = threshold,
    eps(s) = (s/tau) exp(1 - s/tau) for s > 0 (alpha; largest at s = tau, where it is 1) or eps(s) = s (linear).

By the implicit function theorem, with x' the slope at the crossing,

    dt_j/dw = -eps / x',   dt_j/dt_i = sum_k w eps' / x',   dt_j/dd_k = sum_i w eps' / x'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.utils import _pair

from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.core.params import Choice, Count, Param
from spikeloom.timing import wiring
from spikeloom.timing._crossing import first_crossing
from spikeloom.timing.base import TimingLayer

KERNEL = Choice(("alpha", "linear"), "the postsynaptic potential")
SLOPE = Choice(("clamp", "none", "drop"), "what the gradient does where the membrane crosses at a slope under the floor")
SILENT = Choice(("none", "push"), "the gradient of a neuron that never fires")
DELAY = Choice(("fixed", "learned"), "whether delays are parameters")
TAU = Param(7.0, low=0, low_open=True, unit="ms", doc="time constant of the alpha kernel")
THRESHOLD = Param(1.0, low=0, low_open=True, doc="membrane potential at which a neuron fires")
FLOOR = Param(0.1, low=0, doc="smallest slope that a gradient is divided by, in potential per ms")
PUSH = Param(0.01, low=0, doc="pull on the weights of silent neurons")
CHUNK = 1 << 21  # arrivals times neurons in memory at a time


def srm_times(
    t_in: Tensor, weight: Tensor, delays: Tensor, tau: float = 7.0, threshold: float = 1.0, *, kernel: str = "alpha",
    slope: str = "clamp", floor: float = 0.1, silent: str = "none", push: float = 0.01,
) -> Tensor:  # fmt: skip
    """First crossings `[B, out]` of the threshold (inf: never), exact to rounding in float64, in t_in's dtype.

    Args:
        t_in: `[B, in]`, ms; inf: silent. weight: `[out, in, K]`. delays: `[K]`, or `[out, in, K]`, ms.
        slope: where x' is under `floor`, `"clamp"` divides by the floor, `"drop"` passes no gradient, `"none"` divides by x' as it is.
        silent: `"none"`: a neuron that never fires has no gradient; `"push"`: each image for which neuron j stays silent adds -push to
            the gradient of w_jik for every input i that fired, so that descent strengthens what could make it fire.

    Raises ShapeError where shapes do not fit and ParameterError for a value out of range.
    """
    _fit("srm_times", t_in, weight, delays, 2, "times [B, in] and weights [out, in, K]")
    for name, value, param in (("tau", tau, TAU), ("threshold", threshold, THRESHOLD), ("floor", floor, FLOOR), ("push", push, PUSH)):
        param.check(f"srm_times.{name}", value)
    for name, value, choice in (("kernel", kernel, KERNEL), ("slope", slope, SLOPE), ("silent", silent, SILENT)):
        choice.check(f"srm_times.{name}", value)
    return _Crossing.apply(t_in, weight, delays, _shape(kernel, tau), threshold, (slope, floor), push if silent == "push" else 0.0)


def srm_conv2d_times(
    t_in: Tensor, weight: Tensor, delays: Tensor, tau: float = 7.0, threshold: float = 1.0, *, kernel: str = "alpha",
    slope: str = "clamp", floor: float = 0.1, silent: str = "none", push: float = 0.01, stride: Any = 1, padding: Any = 0,
) -> Tensor:  # fmt: skip
    """`srm_times` of neurons that read patches of a map of times: `[B, out, H', W']`; a weight's gradient is summed over the places.

    Args:
        t_in: `[B, C, H, W]`, ms. weight: `[out, C, kh, kw, K]`. delays: `[K]`, or as `weight`, ms.
        stride, padding: a number or a pair. Padding never spikes.

    Raises as `srm_times`, ShapeError for a window larger than the padded map, ParameterError for a stride under 1 or a padding under 0.
    """
    _fit("srm_conv2d_times", t_in, weight, delays, 4, "times [B, C, H, W] and weights [out, C, kh, kw, K]")
    wires, places = wiring.patches("srm_conv2d_times", t_in, weight.shape[2:4], stride, padding)
    options = {"kernel": kernel, "slope": slope, "floor": floor, "silent": silent, "push": push}
    times = srm_times(wires.rows(t_in.flatten(1)), _flat(weight), _flat(delays), tau, threshold, **options)  # [B * H' * W', out]
    return times.view(len(t_in), *places, len(weight)).permute(0, 3, 1, 2)


def srm_potential(t: Tensor, t_in: Tensor, weight: Tensor, delays: Tensor, tau: float = 7.0, *, kernel: str = "alpha") -> Tensor:
    """The membrane potential `[B, out, T]` at times `[T]`, as if no neuron fired; other shapes as in `srm_times`."""
    rate, gain = _shape(KERNEL.check("srm_potential.kernel", kernel), tau)
    s = (t[:, None] - _arrivals(t_in, delays)[..., None, :]).clamp(min=0)  # [B, 1 or out, T, in*K]
    return torch.einsum("botn,on->bot", (gain * s * torch.exp(-rate * s)).expand(-1, len(weight), -1, -1), weight.flatten(1))


def _fit(name: str, t_in: Tensor, weight: Tensor, delays: Tensor, rank: int, allowed: str) -> None:
    if t_in.dim() != rank or weight.dim() != rank + 1 or weight.shape[1] != t_in.shape[1]:
        raise ShapeError(refusal(name, (list(t_in.shape), list(weight.shape)), allowed))
    if delays.shape not in (weight.shape[-1:], weight.shape):
        allowed = f"{list(weight.shape[-1:])} or {list(weight.shape)}"
        raise ShapeError(refusal(f"{name} delays", list(delays.shape), allowed, "one delay per terminal, shared or a synapse's own"))


def _flat(values: Tensor) -> Tensor:
    """Weights, or delays if they are a synapse's own, as `[out, in, K]`."""
    return values.flatten(1, -2) if values.dim() > 1 else values


def _shape(kernel: str, tau: float) -> tuple[float, float]:
    return (1 / tau, math.e / tau) if kernel == "alpha" else (0.0, 1.0)


def _arrivals(t_in: Tensor, delays: Tensor) -> Tensor:
    """`[B, 1 or out, in*K]`."""
    return (t_in[:, None, :, None] + (delays if delays.dim() == 3 else delays[None, None])).flatten(2)


class _Crossing(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, t_in: Tensor, weight: Tensor, delays: Tensor, shape: tuple[float, float], threshold: float, guard: tuple[str, float],
        push: float,
    ) -> Tensor:  # fmt: skip
        wide = [value.detach().double() for value in (t_in, weight, delays)]
        flat = wide[1].flatten(1)
        parts = [first_crossing(_arrivals(t, wide[2]), flat, threshold, *shape) for t in wide[0].split(_rows(weight))]
        time, slope = (torch.cat(values) for values in zip(*parts, strict=True)) if parts else (wide[0].new_empty(0, len(flat)),) * 2
        ctx.save_for_backward(t_in, weight, delays, time, slope)
        ctx.shape, ctx.guard, ctx.push = shape, guard, push
        return time.to(t_in.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        t_in, weight, delays, time, slope = ctx.saved_tensors
        times, w, d = (value.double() for value in (t_in, weight, delays))
        q = torch.where(time.isfinite(), grad.double() / _guarded(slope, *ctx.guard), 0.0)
        needs_arrival = ctx.needs_input_grad[0] or ctx.needs_input_grad[2]
        grad_t, grad_w, grad_d = torch.zeros_like(times), torch.zeros_like(w), torch.zeros_like(d)
        for rows in torch.arange(len(times), device=times.device).split(_rows(weight)):
            ends = time[rows].T.nan_to_num(posinf=-math.inf)[..., None]
            s = (ends - _arrivals(times[rows], d).transpose(0, 1)).clamp_(min=0)  # [out, b, in*K]
            decay = torch.exp(-ctx.shape[0] * s).mul_(ctx.shape[1])
            pull = q[rows].T[..., None]  # [out, b, 1]
            grad_w -= torch.bmm(pull.mT, decay * s).view_as(w)
            if needs_arrival:
                moved = torch.where(s > 0, 1 - ctx.shape[0] * s, 0.0).mul_(decay).mul_(w.flatten(1)[:, None]).mul_(pull)
                moved = moved.unflatten(-1, w.shape[1:])  # [out, b, in, K]
                grad_t[rows] = moved.sum((0, 3))
                grad_d += moved.sum(1) if d.dim() == 3 else moved.sum((0, 1, 2))
        if ctx.push:
            grad_w -= ctx.push * (time.isinf().double().T @ times.isfinite().double())[..., None]
        return grad_t.to(t_in.dtype), grad_w.to(weight.dtype), grad_d.to(delays.dtype), None, None, None, None


def _rows(weight: Tensor) -> int:
    """Images per chunk."""
    return max(1, CHUNK // max(1, weight.numel()))


def _guarded(slope: Tensor, guard: str, floor: float) -> Tensor:
    if guard == "none":
        return slope
    return slope.clamp(min=floor) if guard == "clamp" else torch.where(slope < floor, math.inf, slope)


class _SRM(TimingLayer):
    """What the two layers share: `weight` `[out, ..., K]` and its start, the delays, and the options of their neurons."""

    paper = bibliography.SPIKEPROP

    def __init__(self, shape: tuple[int, ...], delays: Sequence[float], delay: str, drive: float, **options: Any) -> None:
        super().__init__()
        name = type(self).__name__
        for size in shape:
            Count(1).check(f"{name} size", size)
        if not delays or min(delays) < 0:
            raise ParameterError(refusal(f"{name}.delays", tuple(delays), "one or more delays of at least 0 ms"))
        self.terminals, self.options = len(delays), options
        fan_in = math.prod(shape[1:]) * self.terminals
        high = 2 * float(Param(3.6, low=0, low_open=True).check(f"{name}.drive", drive)) * options["threshold"] / fan_in
        self.weight = nn.Parameter(torch.rand(*shape, self.terminals) * high)
        learned = DELAY.check(f"{name}.delay", delay) == "learned"
        terminals = torch.tensor(delays, dtype=self.weight.dtype)
        self.delays = nn.Parameter(terminals.expand_as(self.weight).clone()) if learned else nn.Buffer(terminals)
        flat = _flat(self.weight)
        srm_times(terminals.new_zeros(0, flat.shape[1]), flat, _flat(self.delays), **options)  # refuses options out of range

    def extra_repr(self) -> str:
        out, features, *window, terminals = self.weight.shape
        slides = f", {tuple(window)}, stride={self.stride}, padding={self.padding}" if window else ""
        return f"{features}, {out}{slides}, terminals={terminals}, " + ", ".join(f"{k}={v}" for k, v in self.options.items())


class SRMLinear(_SRM):
    """A fully connected layer of such neurons: times `[B, in_features]` to `[B, out_features]`, ms; infinity: no spike.

    Args:
        delays: of a synapse's terminals, ms (default the paper's 1 to 16).
        delay: `"fixed"`, or `"learned"`: every terminal has a delay of its own that is a parameter.
        drive: weights start uniform in (0, 2 drive threshold / (in_features K)): all inputs together bring `drive` thresholds.
        tau, threshold, kernel, slope, floor, silent, push: as in `srm_times`.
    """

    def __init__(
        self, in_features: int, out_features: int, delays: Sequence[float] = tuple(range(1, 17)), *, tau: float = 7.0,
        threshold: float = 1.0, kernel: str = "alpha", slope: str = "clamp", floor: float = 0.1, silent: str = "none",
        push: float = 0.01, delay: str = "fixed", drive: float = 3.6,
    ) -> None:  # fmt: skip
        options = {"tau": tau, "threshold": threshold, "kernel": kernel, "slope": slope, "floor": floor, "silent": silent, "push": push}
        super().__init__((out_features, in_features), delays, delay, drive, **options)

    def forward(self, t_in: Tensor) -> Tensor:
        return srm_times(t_in, self.weight, self.delays, **self.options)


class SRMConv2d(_SRM):
    """`SRMLinear` as a convolution: times `[B, in_channels, H, W]` to `[B, out_channels, H', W']`; padding never spikes.

    Args:
        kernel_size, stride, padding: a number or a pair.
        delays, delay, tau, threshold, kernel, slope, floor, silent, push: as in `SRMLinear`; learned delays are shared by the places.
        drive: as in `SRMLinear`, of the inputs of one patch.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        delays: Sequence[float] = tuple(range(1, 17)), *, tau: float = 7.0, threshold: float = 1.0, kernel: str = "alpha",
        slope: str = "clamp", floor: float = 0.1, silent: str = "none", push: float = 0.01, delay: str = "fixed", drive: float = 3.6,
    ) -> None:  # fmt: skip
        options = {"tau": tau, "threshold": threshold, "kernel": kernel, "slope": slope, "floor": floor, "silent": silent, "push": push}
        super().__init__((out_channels, in_channels, *_pair(kernel_size)), delays, delay, drive, **options)
        self.stride, self.padding = wiring.sliding("SRMConv2d", stride, padding)

    def forward(self, t_in: Tensor) -> Tensor:
        return srm_conv2d_times(t_in, self.weight, self.delays, **self.options, stride=self.stride, padding=self.padding)
