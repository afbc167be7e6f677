"""TerIF: an integrator with ternary spikes; a negative one takes back a positive one that came too early.

    charge  u[t] = v[t-1] + x[t],   v[0] = start threshold + potential
    fire    s[t] = [u[t] >= threshold] - [u[t] < -negative and m[t-1] > 0]   in {-1, 0, 1}
    reset   v[t] = u[t] - threshold s[t],   m[t] = m[t-1] + s[t]

Shapes: x, s, v, m `[B, ...]` per step; the membrane is in units of the input, m counts spikes. With the count m remembered the sum
of the spikes never falls below 0, as a ReLU does not; negative = inf is IF.

TerMapping has a positive and a negative threshold. Its exact negative rule is in a paper of which only the abstract was at hand: the
rule here is reconstructed after signed neurons with memory (SNM, 2022), where a negative spike needs a positive one to take back.
"""

from typing import Any

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Param
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import State
from spikeloom.surrogates.base import positive


class TerIF(Integrator):
    """Ternary integrate and fire."""

    paper = bibliography.TERMAPPING
    negative = Param(0.0, low=0, infinite="allowed", doc="how far below 0 the membrane may fall before a spike is taken back")
    reset = Choice(("subtract",))
    correction = Choice(("remembered", "free"), "negative spikes only where there are positive ones to take back, or always")
    reduces_to = (({"negative": float("inf")}, "IF", {"reset": "subtract"}),)
    # METHODS G.6: currents 1.2, 1.2, -1.5, -.9, then one more negative one when nothing is left to take back
    hand_trace = {
        "options": {},
        "x": [1.25, 1.25, -1.5, -0.75, -0.5, 0.5],
        "spikes": [1, 1, -1, -1, 0, 0],
        "membrane": [[1.25, 1.25], [1.5, 1.5], [-1.0, -1.0], [-0.75, -0.75], [-0.25, -0.25], [0.25, 0.25]],
    }

    @property
    def states(self) -> tuple[str, ...]:
        return ("v", "m") if self.correction == "remembered" else ("v",)

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        v, *memory = state
        u = v + x
        up, down = self.fire(u, p.threshold), 1 - self.fire(u, -p.negative)
        s = up - (down * positive(memory[0]) if memory else down)
        return s, (self.reset_membrane(u, s, p.threshold), *(m + s for m in memory))
