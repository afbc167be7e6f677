"""Unsupervised clusters by first spikes: the neuron that fires first learns, by when each of its inputs arrived.

    L(dt) = (1 + b) exp(-(dt - c)² / beta²) - b,     dt = t_i + d_k - t_j,     w_jik <- clip(w_jik + rate L(dt), 0, w_max).

Terminals whose input arrived about -c before the spike grow and all others shrink, so that the delays that remain align a
cluster's inputs: the neuron becomes a radial basis function whose centre is in its delays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.core.params import Choice, Param

SILENT_INPUTS = Choice(("depress", "keep"), "terminals of inputs that did not fire: L at infinity, or no change")
B = Param(0.2, low=0, doc="depression far from the window, as a share of the largest growth")
C = Param(-2.85, unit="ms", doc="where the window is largest")
BETA = Param(1.67, low=0, low_open=True, unit="ms", doc="width of the window")
RATE = Param(0.0025, low=0, doc="largest change of a weight by one sample")
W_MAX = Param(1.0, low=0, low_open=True, doc="largest weight")


def learning_window(dt: Tensor, b: float = 0.2, c: float = -2.85, beta: float = 1.67) -> Tensor:
    """L(dt), same shape as dt (ms; infinity gives -b): 1 at c, 0 at c +- beta sqrt(ln((1 + b) / b))."""
    for name, value, param in (("b", b, B), ("c", c, C), ("beta", beta, BETA)):
        param.check(f"learning_window.{name}", value)
    return (1 + b) * torch.exp(-(((dt - c) / beta) ** 2)) - b


def first_spike_update(
    weight: Tensor, t_in: Tensor, t_out: Tensor, delays: Tensor, *, rate: float = 0.0025, w_max: float = 1.0, b: float = 0.2,
    c: float = -2.85, beta: float = 1.67, silent_inputs: str = "depress",
) -> Tensor:  # fmt: skip
    """The weights `[out, in, K]` after one sample with input times `[in]`, output times `[out]` and delays `[K]`, ms; inf: silent.

    Only the row of the first output spike changes; none does where no output fired. Raises ShapeError where shapes do not fit.
    """
    if weight.shape != (*t_out.shape, *t_in.shape, *delays.shape):
        given = tuple(list(value.shape) for value in (weight, t_in, t_out, delays))
        raise ShapeError(refusal("first_spike_update", given, "weights [out, in, K], inputs [in], outputs [out] and delays [K]"))
    RATE.check("first_spike_update.rate", rate)
    W_MAX.check("first_spike_update.w_max", w_max)
    silent = SILENT_INPUTS.check("first_spike_update.silent_inputs", silent_inputs)
    winner = t_out.argmin()
    if not bool(t_out[winner].isfinite()):
        return weight
    change = rate * learning_window(t_in[:, None] + delays - t_out[winner], b, c, beta)
    if silent == "keep":
        change = torch.where(t_in.isfinite()[:, None], change, 0.0)
    after = weight.clone()
    after[winner] = (weight[winner] + change).clamp(0, w_max)
    return after
