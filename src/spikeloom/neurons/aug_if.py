"""AugIF: an integrator whose spike carries a coefficient, the number of ordinary spikes it stands for.

    charge  u[t] = v[t-1] + x[t],   v[0] = start threshold + potential
    fire    s[t] = floor(u[t] / threshold)                  where u[t] >= threshold
            s[t] = -min(m[t-1], ceil(-u[t] / threshold))    where u[t] < 0;   0 elsewhere;   |s[t]| <= largest
    reset   v[t] = u[t] - threshold s[t],   m[t] = m[t-1] + s[t]

Shapes: x, s, v, m `[B, ...]` per step; the membrane is in units of the input, m counts spikes. With the count m remembered the sum of
the spikes is max(0, floor of the running sum of x / threshold) after every step, whatever the order of arrival. Backward, the
surrogate stands for the two thresholds, and the coefficient is a constant.

AugMapping's coefficient is in the paper's abstract, the negative rule is reconstructed after signed neurons with memory (SNM, 2022):
only the abstract was at hand.
"""

from typing import Any

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Param
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import State


class AugIF(Integrator):
    """Integrate and fire with augmented spikes."""

    paper = bibliography.TERMAPPING
    largest = Param(float("inf"), low=1, infinite="allowed", doc="bound of a spike's coefficient, rounded down to a whole number")
    reset = Choice(("subtract",))
    correction = Choice(("remembered", "free", "none"), "negative spikes up to the count so far, without bound, or never")
    reduces_to = (
        ({"largest": 1.0, "correction": "none"}, "IF", {"reset": "subtract"}),
        ({"largest": 1.0}, "TerIF", {}),
        ({"largest": 1.0, "correction": "free"}, "TerIF", {"correction": "free"}),
    )
    # METHODS G.6: currents 2.5, 2.5, -4.2, .9
    hand_trace = {
        "options": {},
        "x": [2.5, 2.5, -4.25, 0.875],
        "spikes": [2, 3, -5, 1],
        "membrane": [[2.5, 2.5], [3.0, 3.0], [-4.25, -4.25], [1.625, 1.625]],
    }

    @property
    def states(self) -> tuple[str, ...]:
        return ("v", "m") if self.correction == "remembered" else ("v",)

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        v, *memory = state
        u = v + x
        s = self.fire(u, p.threshold) * torch.minimum(torch.floor(u / p.threshold).clamp(min=1), torch.floor(p.largest))
        if self.correction != "none":
            back = torch.minimum(torch.ceil(-u / p.threshold).clamp(min=1), torch.floor(p.largest))
            for m in memory:
                back = torch.minimum(back, torch.floor(m))
            s = s - (1 - self.fire(u, torch.zeros_like(p.threshold))) * back
        return s, (self.reset_membrane(u, s, p.threshold), *(m + s for m in memory))
