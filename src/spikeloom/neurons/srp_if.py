"""SRPIF: an integrator that listens first, then silences itself where its residual potential says that it should not have fired.

    charge  u[t] = v[t-1] + x[t],   v[0] = start threshold + potential
    fire    s[t] = [u[t] >= threshold],   emitted: s[t] m
    reset   v[t] = u[t] - threshold s[t]
    after step `prelude`:  m = [v > 0.001 threshold],   v = v[0]

Shapes: x, s and the states `[B, ...]` per step; the membrane is in units of the input. m is 1 during the prelude, whose outputs count
for nothing: `SNN(net, steps=T, prelude=prelude)` returns the T steps after it. A membrane left at or below 0 although spikes were
emitted means that they came too early: the sum of the input would not have made them.
"""

from typing import Any

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Count, Param
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import State
from spikeloom.surrogates.base import positive


class SRPIF(Integrator):
    """Integrate and fire with a mask by residual potential (SRP)."""

    paper = bibliography.SRP
    start = Param(0.5, unit="thresholds", doc="the membrane before the first step, of the prelude and after it")
    prelude = Count(4, low=1, doc="tau, steps before the mask is set")
    reset = Choice(("subtract",))
    states = ("v", "clock", "mask", "first")
    # METHODS G.7, unevenness: .9, .3, -2, .4 emits one spike too early and ends below 0, so nothing passes afterwards
    hand_trace = {
        "options": {},
        "x": [0.875, 0.25, -2.0, 0.375, 0.875, 0.25],
        "spikes": [1, 0, 0, 0, 0, 0],
        "membrane": [1.375, 0.625, -1.375, -1.0, 1.375, 0.625],
    }

    def initial(self, x: Tensor) -> State:
        v, clock, *_ = super().initial(x)
        return v, clock, torch.ones_like(x), v

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        v, clock, mask, first = state
        u = v + x
        s = self.fire(u, p.threshold)
        v, clock = self.reset_membrane(u, s, p.threshold), clock + 1
        end = clock == self.prelude
        after = torch.where(end, first, v), clock, torch.where(end, positive(v - 1e-3 * p.threshold), mask), first
        return s * mask, after
