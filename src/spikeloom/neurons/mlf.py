"""MLF: K leaky neurons on one input current, each with its own membrane and its own threshold; the unit emits their sum.

    charge  u_k[t] = decay v_k[t-1] + x[t],                    k = 1 ... K
    fire    s_k[t] = [u_k[t] > threshold + (k-1) spacing],     s[t] = sum_k s_k[t]  in {0, ..., K}
    reset   v_k[t] = u_k[t] (1 - s_k[t])   or   u_k[t] - threshold_k s_k[t]

Shapes: x, s, v_k `[B, ...]` per step. With spacing equal to the rectangle's width the K windows tile
(threshold - width/2, threshold + (K - 1/2) width) without overlap. Constants are those of the authors' code.
"""

from typing import Any

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Count, Param
from spikeloom.neurons.base import Neuron, State


class MLF(Neuron):
    """Multi-level firing unit with `levels` thresholds, the first at `threshold`, `spacing` apart."""

    paper = bibliography.MLF
    decay = Param(0.25, low=0, high=1, low_open=True, doc="share of each membrane kept from one step to the next")
    threshold = Param(0.6, low=0, low_open=True, doc="the first level's threshold")
    spacing = Param(1.0, low=0, low_open=True, doc="distance between the thresholds of neighbouring levels")
    levels = Count(3, low=1, doc="K, the largest number a unit can emit in one step")
    reduces_to = (({"levels": 1}, "LIF", {"decay": 0.25, "threshold": 0.6}),)
    # METHODS B.6.1, worked by hand; membranes of the three levels at each step
    hand_trace = {
        "options": {},
        "x": [0.5, 0.5, 0.7, 1.7, 2.7, -0.3, 0.62],
        "spikes": [0, 1, 1, 2, 3, 0, 0],
        "membrane": [
            [0.5, 0.5, 0.5], [0.625, 0.625, 0.625], [0.7, 0.85625, 0.85625], [1.7, 1.9140625, 1.9140625],
            [2.7, 2.7, 3.178515625], [-0.3, -0.3, -0.3], [0.545, 0.545, 0.545],
        ],
    }

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(f"v{k}" for k in range(1, self.levels + 1))

    def step(self, x: Tensor, state: State, p: Any) -> tuple[Tensor, State]:
        total, after = None, []
        for k, v in enumerate(state):
            threshold = p.threshold + k * p.spacing
            u = p.decay * v + x
            s = self.fire(u, threshold)
            after.append(self.reset_membrane(u, s, threshold))
            total = s if total is None else total + s
        return total, tuple(after)
