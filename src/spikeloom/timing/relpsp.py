"""The firing time of neurons whose potential rises as straight lines (ReL-PSP), in closed form, with exact gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.core.params import Choice, Param
from spikeloom.timing import kernel, reference, wiring
from spikeloom.timing.wiring import Wiring

SILENT = Choice(("none", "push"), doc="what a neuron that never fires does to its weights' gradient")
THRESHOLD = Param(1.0, low=0, low_open=True, doc="the potential at which a neuron fires")
UNTIL = Param(math.inf, doc="the time after which no neuron fires", infinite="allowed")
PUSH = Param(1.0, low=0, doc="how strongly silent neurons are pushed")


def relpsp_times(
    t_in: Tensor, weight: Tensor, threshold: float = 1.0, until: float = math.inf, silent: str = "none", push: float = 1.0
) -> Tensor:
    """When each neuron fires: V_j(t) = sum_i w_ji max(0, t - t_i) reaches the threshold for the first time. Zhang et al. 2021.

    t_j = (threshold + sum_C w_ji t_i) / sum_C w_ji over the causal set C = {i: t_i < t_j}; infinity: no spike, of an input or a neuron.
    Gradients are exact: dt_j/dw_ji = (t_i - t_j) / sum_C w and dt_j/dt_i = w_ji / sum_C w for i in C, else 0.

    Args:
        t_in: `[B, in]`, float32 or float64.
        weight: `[out, in]`.
        threshold: positive.
        until: the end of time: a neuron that would fire later is silent.
        silent: a neuron that never fires has no gradient (`"none"`), or (`"push"`) adds -push / B to the gradient of the weight of every
            input that fired, for each of the B images where it is silent, so that descent raises these weights until it fires.

    Returns `[B, out]`. Raises ShapeError or ParameterError for what does not fit, NaN among it.
    """
    if t_in.dim() != 2 or weight.dim() != 2 or t_in.shape[1] != weight.shape[1]:
        given = f"{list(t_in.shape)} and {list(weight.shape)}"
        raise ShapeError(refusal("relpsp_times t_in and weight", given, "[B, in] and [out, in]"))
    return _times("relpsp_times", t_in, weight, wiring.full(weight.shape[1]), threshold, until, silent, push).squeeze(1)


def relpsp_conv2d_times(
    t_in: Tensor, weight: Tensor, threshold: float = 1.0, until: float = math.inf, silent: str = "none", push: float = 1.0,
    stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0),
) -> Tensor:  # fmt: skip
    """The same for neurons that read patches of a map of times. t_in `[B, C, H, W]`, weight `[out, C, kh, kw]`; `[B, out, H', W']`.

    Padding never spikes. The push of a silent neuron is -push / (B H' W').
    """
    if t_in.dim() != 4 or weight.dim() != 4 or t_in.shape[1] != weight.shape[1]:
        given = f"{list(t_in.shape)} and {list(weight.shape)}"
        raise ShapeError(refusal("relpsp_conv2d_times t_in and weight", given, "[B, C, H, W] and [out, C, kh, kw]"))
    wires, places = wiring.patches("relpsp_conv2d_times", t_in, weight.shape[2:], stride, padding)
    times = _times("relpsp_conv2d_times", t_in.flatten(1), weight.flatten(1), wires, threshold, until, silent, push)  # [B, H' * W', out]
    return times.transpose(1, 2).unflatten(2, places)


def _times(name: str, t: Tensor, weight: Tensor, wires: Wiring, threshold: float, until: float, silent: str, push: float) -> Tensor:
    """`[B, places, out]` from t `[B, inputs]` and weight `[out, taps]`."""
    if t.dtype not in (torch.float32, torch.float64) or weight.dtype is not t.dtype:
        raise ParameterError(refusal(f"{name} dtypes", f"{t.dtype} and {weight.dtype}", "both float32 or both float64"))
    if t.numel() and not t.detach().min() > -math.inf:  # NaN too
        raise ParameterError(refusal(f"{name} t_in", "NaN or minus infinity", "times, or infinity for no spike"))
    THRESHOLD.check(f"{name} threshold", threshold)
    UNTIL.check(f"{name} until", until)
    strength = PUSH.check(f"{name} push", push) if SILENT.check(f"{name} silent", silent) == "push" else 0.0
    return _ReLPSP.apply(t, weight, wires, float(threshold), float(until), float(strength))


class _ReLPSP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, weight: Tensor, wires: Wiring, threshold: float, until: float, push: float) -> Tensor:
        t, weight = t.contiguous(), weight.contiguous()
        ctx.how = kernel if kernel.usable(t) else reference
        if t.numel() and weight.numel():
            out, slope = ctx.how.forward(t, weight, wires, threshold, until)
        else:
            out = t.new_full((len(t), wires.places, len(weight)), math.inf)
            slope = torch.zeros_like(out)
        ctx.wires, ctx.push = wires, push / max(len(t) * wires.places, 1)
        ctx.save_for_backward(t, weight, out, slope)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        t, weight, out, slope = ctx.saved_tensors
        gt, gw = torch.zeros_like(t), torch.zeros_like(weight)
        if t.numel() and weight.numel():
            gt, gw = ctx.how.backward(t, weight, ctx.wires, ctx.push, grad.contiguous(), out, slope, ctx.needs_input_grad[0])
        return gt, gw, None, None, None, None
