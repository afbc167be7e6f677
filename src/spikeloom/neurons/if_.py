"""IF: the perfect integrator.

    charge  u[t] = v[t-1] + x[t],   v[0] = start threshold + potential;   floor="zero": u[t] = max(0, v[t-1] + x[t])
    fire    s[t] = [u[t] >= threshold]
    reset   v[t] = u[t] (1 - s[t])   or   u[t] - threshold s[t]

Shapes: x, s, v `[B, ...]` per step; the membrane is in units of the input. The convention (at or above, detached reset)
is SEW-ResNet's; conversion uses it with reset="subtract", where spikes are conserved: sum x = threshold * count + v[T] - v[0].
Cao et al. (2015) keep the membrane from falling below 0.
"""

from typing import Any

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import State


class IF(Integrator):
    """Integrate and fire: u = v + x. `neuron.potential = tensor` adds to the first membrane, one value per neuron."""

    paper = bibliography.SEW
    floor = Choice(("none", "zero"), "whether the charged membrane may fall below 0")
    # METHODS C.3: IF at threshold 1 hands a binary train on; x = .75: u = .75, 1.5 -> 0, .75, 1.5 -> 0
    hand_trace = {"options": {}, "x": [0.75, 0.75, 0.75, 0.75], "spikes": [0, 1, 0, 1], "membrane": [0.75, 1.5, 0.75, 1.5]}

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        (v,) = state
        u = v + x
        if self.floor == "zero":
            u = torch.relu(u)
        s = self.fire(u, p.threshold)
        return s, (self.reset_membrane(u, s, p.threshold),)
