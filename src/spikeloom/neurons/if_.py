"""IF: the perfect integrator.

    charge  u[t] = v[t-1] + x[t]
    fire    s[t] = [u[t] >= threshold]
    reset   v[t] = u[t] (1 - s[t])   or   u[t] - threshold s[t]

Shapes: x, s, v `[B, ...]` per step; the membrane is in units of the input. The convention (at or above, detached reset)
is SEW-ResNet's; conversion uses it with reset="subtract", where spikes are conserved: sum x = threshold * count + v[T] - v[0].
"""

from typing import Any

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Param
from spikeloom.neurons.base import Neuron, State


class IF(Neuron):
    """Integrate and fire: u = v + x."""

    paper = bibliography.SEW
    threshold = Param(1.0, low=0, low_open=True, doc="membrane at which the neuron fires")
    reset_gradient = Choice(("detached", "through"))
    fires = Choice(("at_or_above", "above", "smooth"))
    default_surrogate = "atan"
    # METHODS C.3: IF at threshold 1 hands a binary train on; x = .75: u = .75, 1.5 -> 0, .75, 1.5 -> 0
    hand_trace = {"options": {}, "x": [0.75, 0.75, 0.75, 0.75], "spikes": [0, 1, 0, 1], "membrane": [0.75, 1.5, 0.75, 1.5]}

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        (v,) = state
        u = v + x
        s = self.fire(u, p.threshold)
        return s, (self.reset_membrane(u, s, p.threshold),)
