"""COSIF: an integrator that listens first, then shifts its first membrane by what makes it fire once less, or once more.

    charge  u[t] = v[t-1] + x[t],   v[0] = start threshold + potential
    fire    s[t] = [u[t] >= threshold]
    reset   v[t] = u[t] - threshold s[t]
    after step `prelude`, in units of the threshold:
        v < 0 and it fired    v = v[0] - max(1, min of u over the steps with a spike - 0.999)
        v >= 1                v = v[0] + max(1, 1.001 - max of u over the silent steps)
        else                  v = v[0]

Shapes: x, s and the states `[B, ...]` per step; the membrane is in units of the input. The outputs of the prelude count for nothing:
`SNN(net, steps=T, prelude=prelude)` returns the T steps after it. The shift is made once, at the end of the prelude; the paper's
calibration can be repeated with a further prelude each time, which the released code does not do either. A membrane that was never
silent starts again 1,001 thresholds higher, as in that code: it fires at every step.
"""

from typing import Any

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Count, Param
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import State

NEVER = 1000.0  # thresholds; the extremes of a membrane that never fired, or was never silent


class COSIF(Integrator):
    """Integrate and fire with a calibrated first membrane (COS)."""

    paper = bibliography.COS
    start = Param(0.5, unit="thresholds", doc="the membrane before the first step of the prelude")
    prelude = Count(4, low=1, doc="rho, steps before the membrane is shifted")
    reset = Choice(("subtract",))
    states = ("v", "clock", "low", "high", "first")
    # METHODS G.7, unevenness: .9, .3, -2, .4 emits one spike too early; shifted by one threshold, the same input emits none
    hand_trace = {
        "options": {},
        "x": [0.875, 0.25, -2.0, 0.375, 0.875, 0.25, -2.0, 0.375],
        "spikes": [1, 0, 0, 0, 0, 0, 0, 0],
        "membrane": [1.375, 0.625, -1.375, -1.0, 0.375, 0.625, -1.375, -1.0],
    }

    def initial(self, x: Tensor) -> State:
        v, clock, *_ = super().initial(x)
        return v, clock, torch.full_like(x, NEVER), torch.full_like(x, -NEVER), v  # low and high in thresholds

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        v, clock, low, high, first = state
        u = v + x
        s = self.fire(u, p.threshold)
        v, clock, fired = self.reset_membrane(u, s, p.threshold), clock + 1, s > 0
        low = torch.where(fired, torch.minimum(low, u / p.threshold), low)
        high = torch.where(fired, high, torch.maximum(high, u / p.threshold))
        less = first - p.threshold * (low - 0.999).clamp(min=1)
        more = first + p.threshold * (1.001 - high).clamp(min=1)
        again = torch.where((v < 0) & (low < NEVER), less, first)
        again = torch.where(v >= p.threshold, more, again)
        return s, (torch.where(clock == self.prelude, again, v), clock, low, high, first)
