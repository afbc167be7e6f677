"""sinabs: its LIF layer with a hard reset and one spike per step."""

from __future__ import annotations

import math

from torch import Tensor

from spikeloom.bench.rivals.base import Contender, Rival, hard_leaky
from spikeloom.neurons import LIF, Neuron


class Sinabs(Rival):
    """Input `[B, T, ...]`: it gets B = 1, so that each step is contiguous. Its reset's gradient is always detached."""

    impl = "sinabs"
    requirement = "sinabs==3.1.3"
    module = "sinabs.layers"

    def neuron(self, kind: Neuron) -> Contender:
        from sinabs import layers
        from sinabs.activation import MembraneReset, SingleSpike

        numbers = hard_leaky(kind, self.impl)
        node = layers.LIF(
            tau_mem=-1 / math.log(numbers["decay"]), spike_threshold=numbers["threshold"], spike_fn=SingleSpike, reset_fn=MembraneReset(),
            surrogate_grad_fn=_atan, norm_input=True,
        ).to(kind.threshold.device)  # fmt: skip
        node.requires_grad_(False)  # a time constant that is not trained, as everywhere else

        def call(x: Tensor) -> Tensor:
            node.reset_states()
            return node(x[None])[0]

        oracle = LIF(tau=numbers["tau"], threshold=numbers["threshold"], surrogate="atan", reset_gradient="detached")
        return Contender(self.impl, call, oracle, backend="eager", note="the reset's gradient is always detached")


def _atan(membrane: Tensor, threshold: Tensor) -> Tensor:
    return 1 / (1 + (math.pi * (membrane - threshold)) ** 2)
