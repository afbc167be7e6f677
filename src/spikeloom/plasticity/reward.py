"""Reward-modulated STDP: pairs leave an eligibility at the synapse, and a reward that comes later turns it into weight."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.plasticity import pair
from spikeloom.plasticity.base import positive

paper = bibliography.IZHIKEVICH


@dataclass(frozen=True)
class Constants:
    """pairs: the STDP that fills the eligibility, whose bounds hold for the weights; tau: of the eligibility, in ms."""

    pairs: pair.Constants = field(default_factory=pair.Constants)
    tau: float = 1000.0

    def __post_init__(self) -> None:
        positive(self, "tau")


class Traces(NamedTuple):
    """pairs: those of `pair`; eligibility: `[in, out]`. All start at 0."""

    pairs: pair.Traces
    eligibility: Tensor


def start(weights: Tensor, pre: Tensor) -> Traces:
    """Traces at rest for weights `[in, out]` and spikes pre `[in]` or `[in, out]`."""
    return Traces(pair.start(weights, pre), weights.new_zeros(weights.shape))


def update(
    weights: Tensor, traces: Traces, pre: Tensor, post: Tensor, dt: float, reward: float | Tensor, constants: Constants | None = None
) -> tuple[Tensor, Traces]:
    """One step of `dt` ms: the eligibility c decays and takes up what pairs add, then w += c reward dt. Nothing is changed in place.

    weights: `[in, out]`; pre: spikes `[in]` or `[in, out]`; post: `[out]`; both bool. reward: per ms, a number, or `[out]`.
    Raises ShapeError. Source: Izhikevich 2007 (dc/dt = -c / tau + STDP, dw/dt = c times dopamine).
    """
    c = constants or Constants()
    added, pairs = pair.change(weights, traces.pairs, pre, post, dt, c.pairs)
    eligibility = traces.eligibility * math.exp(-dt / c.tau) + added
    return (weights + eligibility * reward * dt).clamp(c.pairs.low, c.pairs.high), Traces(pairs, eligibility)
