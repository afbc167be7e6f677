"""STDP of spike triplets: pairs, and two spikes on one side with one on the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.plasticity.base import bounded, checked, positive

paper = bibliography.PFISTER_GERSTNER


@dataclass(frozen=True)
class Constants:
    """Time constants in ms, amplitudes without unit. The defaults are recalled from the paper's minimal model of the visual cortex.

    gain and gain3: of a post spike, by pairs and by triplets post-pre-post; loss and loss3: of a pre spike, by pairs and pre-post-pre.
    """

    gain: float = 0.0
    gain3: float = 6.5e-3
    loss: float = 7.1e-3
    loss3: float = 0.0
    tau_pre: float = 16.8
    tau_pre_slow: float = 101.0
    tau_post: float = 33.7
    tau_post_slow: float = 114.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "tau_pre", "tau_pre_slow", "tau_post", "tau_post_slow")
        bounded(self)


class Traces(NamedTuple):
    """r1 and r2 of the inputs, `[in, 1]` or `[in, out]`; o1 and o2 of the outputs, `[out]`. All start at 0."""

    r1: Tensor
    r2: Tensor
    o1: Tensor
    o2: Tensor


def start(weights: Tensor, pre: Tensor) -> Traces:
    """Traces at rest for weights `[in, out]` and spikes pre `[in]` or `[in, out]`."""
    r = weights.new_zeros(len(weights), weights.shape[1] if pre.dim() == 2 else 1)
    o = weights.new_zeros(weights.shape[1])
    return Traces(r, r.clone(), o, o.clone())


def update(
    weights: Tensor, traces: Traces, pre: Tensor, post: Tensor, dt: float, constants: Constants | None = None
) -> tuple[Tensor, Traces]:
    """One step of `dt` ms: the traces decay, spikes change weights by the traces as they were before, and raise them by 1.

    weights: `[in, out]`; pre: spikes `[in]` or, as they arrive at each synapse, `[in, out]`; post: `[out]`; both bool. Nothing is changed
    in place. On post: w += r1 (gain + gain3 o2); on pre: w -= o1 (loss + loss3 r2). Raises ShapeError.
    Source: Pfister and Gerstner 2006, all-to-all.
    """
    c = constants or Constants()
    arrived = checked(weights, pre, post)
    taus = c.tau_pre, c.tau_pre_slow, c.tau_post, c.tau_post_slow
    r1, r2, o1, o2 = (trace * math.exp(-dt / tau) for trace, tau in zip(traces, taus, strict=True))
    added = r1 * (c.gain + c.gain3 * o2) * post - o1 * (c.loss + c.loss3 * r2) * arrived
    raised = Traces(*(torch.where(arrived, r + 1, r) for r in (r1, r2)), *(torch.where(post, o + 1, o) for o in (o1, o2)))
    return (weights + added).clamp(c.low, c.high), raised
