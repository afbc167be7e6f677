"""The trace rule of Diehl and Cook's network, with the post trace of the spike before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.plasticity.base import bounded, checked, positive

paper = bibliography.DIEHL_COOK


@dataclass(frozen=True)
class Constants:
    """Rates without unit, time constants in ms, bounds of the weights."""

    rate_pre: float = 1e-4
    rate_post: float = 1e-2
    tau_pre: float = 20.0
    tau_post1: float = 20.0
    tau_post2: float = 40.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "tau_pre", "tau_post1", "tau_post2")
        bounded(self)


class Traces(NamedTuple):
    """pre: `[in, 1]`, or `[in, out]` where synapses have delays of their own; post1 and post2: `[out]`. All start at 0."""

    pre: Tensor
    post1: Tensor
    post2: Tensor


def start(weights: Tensor, pre: Tensor) -> Traces:
    """Traces at rest for weights `[in, out]` and spikes pre `[in]` or `[in, out]`."""
    post = weights.new_zeros(weights.shape[1])
    return Traces(weights.new_zeros(len(weights), weights.shape[1] if pre.dim() == 2 else 1), post, post.clone())


def update(
    weights: Tensor, traces: Traces, pre: Tensor, post: Tensor, dt: float, constants: Constants | None = None
) -> tuple[Tensor, Traces]:
    """One step of `dt` ms: the traces decay, then pre spikes act, then post spikes; nothing is changed in place.

    weights: `[in, out]`. pre: spikes `[in]`, or `[in, out]` as they arrive at each synapse; post: `[out]`; both bool.
    On pre: w -= rate_pre post1, pre = 1. On post: w += rate_post pre post2, with post2 as it was before this spike; post1 = post2 = 1.
    Raises ShapeError. Source: Diehl and Cook 2015, their released code.
    """
    c = constants or Constants()
    arrived = checked(weights, pre, post)
    trace, post1, post2 = (t * math.exp(-dt / tau) for t, tau in zip(traces, (c.tau_pre, c.tau_post1, c.tau_post2), strict=True))
    weights = torch.where(arrived, (weights - c.rate_pre * post1).clamp(c.low, c.high), weights)
    trace = torch.where(arrived, torch.ones_like(trace), trace)
    weights = torch.where(post, (weights + c.rate_post * trace * post2).clamp(c.low, c.high), weights)
    return weights, Traces(trace, *(torch.where(post, torch.ones_like(t), t) for t in (post1, post2)))
