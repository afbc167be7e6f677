"""Maass's sigmoidal unit in spike times: a value x in [0, 1] is a spike at end - width x, the larger the earlier.

While postsynaptic potentials rise linearly, V(t) = sum_i W_i (t - t_i) reaches the threshold at

    t = (threshold + sum_i W_i t_i) / sum_i W_i.

A reference synapse, whose spike marks the end of the input window, holds sum_i W_i at `total` whatever the weights are, so that t is
affine in the values. What would fire after the end of the output window is forced to fire there, what would fire before its start
cannot: the value of the spike is the piecewise linear sigmoid clip(sum_i W_i x_i / total, 0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.core.params import Param

WIDTH = Param(1.0, low=0, low_open=True, unit="ms", doc="length of the windows in which values are coded")
TOTAL = Param(1.0, low=0, low_open=True, doc="sum of all weights, the slope of the membrane")


def time_of(x: Tensor, end: float, width: float = 1.0) -> Tensor:
    """The spikes of values x in [0, 1] in the window that ends at `end`; same shape. Raises ParameterError for other values."""
    if bool(((x < 0) | (x > 1)).any()):
        raise ParameterError(refusal("time_of", [x.min().item(), x.max().item()], "in [0, 1]", "scale the values first"))
    return end - WIDTH.check("time_of.width", width).item() * x


def value_of(t: Tensor, end: float, width: float = 1.0) -> Tensor:
    """The values of spikes in the window that ends at `end`; same shape."""
    return (end - t) / width


def temporal_sigmoid(
    t_in: Tensor, weight: Tensor, bias: Tensor, end: float, *, width: float = 1.0, total: float = 1.0, threshold: float = 2.0
) -> tuple[Tensor, float]:
    """Spikes `[B, out]` of units with weights `[out, in]` on spikes `[B, in]` of the window that ends at `end`, and the end of theirs.

    bias `[out]` is the weight from a neuron that fires at the start of the window (value 1). The output window is as wide and ends
    threshold / total later; it must start after the last input, so threshold / total >= width.
    Raises ShapeError where shapes do not fit and ParameterError where a spike is outside the input window or the threshold is too low.
    """
    if t_in.dim() != 2 or weight.dim() != 2 or weight.shape[1] != t_in.shape[1] or bias.shape != weight.shape[:1]:
        shapes = (list(t_in.shape), list(weight.shape), list(bias.shape))
        raise ShapeError(refusal("temporal_sigmoid", shapes, "times [B, in], weights [out, in] and bias [out]"))
    WIDTH.check("temporal_sigmoid.width", width)
    TOTAL.check("temporal_sigmoid.total", total)
    if threshold < total * width:
        raise ParameterError(refusal("temporal_sigmoid.threshold", threshold, f"at least total * width = {total * width:g}"))
    slack = 1e-9 * width
    if bool(((t_in < end - width - slack) | (t_in > end + slack)).any()):
        given, allowed = [t_in.min().item(), t_in.max().item()], f"in [{end - width:g}, {end:g}]"
        raise ParameterError(refusal("temporal_sigmoid spikes", given, allowed, "code values with time_of"))
    reference = total - weight.sum(1) - bias
    crossing = (threshold + t_in @ weight.T + bias * (end - width) + reference * end) / total
    out_end = end + threshold / total
    return torch.clamp(crossing, out_end - width, out_end), out_end
