"""PLIF: a leaky integrator that learns its time constant, one per layer (or per channel).

    charge  u[t] = v[t-1] + (x[t] - v[t-1]) sigma(w),   1/tau = sigma(w),   w0 = -ln(tau - 1)
    fire    s[t] = [u[t] >= threshold]
    reset   v[t] = u[t] (1 - s[t])   or   u[t] - threshold s[t]

Shapes: x, s, v `[B, ...]` per step; w a scalar or `[C]`. At a fixed w it is LIF with drive="leak_scaled".
"""

from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Param
from spikeloom.neurons.base import Neuron, State


class PLIF(Neuron):
    """Parametric LIF: the leak 1/tau = sigmoid(w) is trained. `PLIF(tau=2.0)` gives tau's start; `neuron.w` is the parameter."""

    paper = bibliography.PLIF
    threshold = Param(1.0, low=0, low_open=True, doc="membrane at which the neuron fires")
    reset_gradient = Choice(("detached", "through"))
    fires = Choice(("at_or_above", "above", "smooth"))
    default_surrogate = "atan"
    reduces_to = (
        ({"tau": 4.0}, "LIF", {"tau": 4.0, "threshold": 1.0, "fires": "at_or_above", "reset_gradient": "detached", "surrogate": "atan"}),
    )
    # METHODS C.3: tau = 2 halves the distance to the input: .5, .75, .875, then 1 at x = 1.125
    hand_trace = {
        "options": {"tau": 2.0},
        "x": [1.0, 1.0, 1.0, 1.125, 1.0],
        "spikes": [0, 0, 0, 1, 0],
        "membrane": [0.5, 0.75, 0.875, 1.0, 0.5],
    }

    def __init__(self, *, tau: Any = 2.0, **values: Any) -> None:
        super().__init__(**values)
        start = Param(2.0, low=1, low_open=True, unit="steps").check("PLIF.tau", tau, "tau = 1 would forget everything")
        self.w = nn.Parameter(-torch.log(start - 1))

    def values(self) -> dict[str, Tensor]:
        return {**super().values(), "leak": torch.sigmoid(self.w)}

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        (v,) = state
        u = v + (x - v) * p.leak
        s = self.fire(u, p.threshold)
        return s, (self.reset_membrane(u, s, p.threshold),)
