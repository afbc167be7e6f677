"""SignedIF: the perfect integrator with positive and negative spikes, whose rate is a leaky ReLU.

    charge  u[t] = v[t-1] + x[t],   v[0] = start threshold + potential
    fire    s[t] = [u[t] >= threshold] - [u[t] <= -threshold/slope]   in {-1, 0, 1}
    reset   v[t] = u[t] - threshold after a positive spike,  u[t] + threshold/slope after a negative one

Shapes: x, s, v `[B, ...]` per step; the membrane is in units of the input. A negative spike costs 1/slope times the charge of a
positive one, so that threshold times the rate tends to LeakyReLU(x) with that slope. Spiking-YOLO's signed neuron with imbalanced
threshold; slope 0.1 is Tiny-YOLO's.
"""

from typing import Any

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Param
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import State


class SignedIF(Integrator):
    """Signed integrate and fire: `slope` is that of the leaky ReLU."""

    paper = bibliography.SPIKING_YOLO
    slope = Param(0.1, low=0, high=1, low_open=True, doc="of the leaky ReLU; the negative threshold is threshold/slope")
    reset = Choice(("subtract",))
    # slope 1/2: thresholds 1 and -2; the two membranes are u and -u
    hand_trace = {
        "options": {"slope": 0.5},
        "x": [0.75, 0.5, -1.25, -1.5, 0.25, 2.5],
        "spikes": [0, 1, 0, -1, 0, 1],
        "membrane": [[0.75, -0.75], [1.25, -1.25], [-1.0, 1.0], [-2.5, 2.5], [-0.25, 0.25], [2.25, -2.25]],
    }

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        (v,) = state
        u, low = v + x, p.threshold / p.slope
        up, down = self.fire(u, p.threshold), self.fire(-u, low)
        after = self.reset_membrane(u, up, p.threshold)
        return up - down, (self.reset_membrane(after, down, -low),)
