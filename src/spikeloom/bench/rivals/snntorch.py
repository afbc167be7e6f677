"""snnTorch: Leaky in its documented loop over time."""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.bench.rivals.base import Contender, Rival, hard_leaky
from spikeloom.neurons import LIF, Neuron


class SnnTorch(Rival):
    """U[t] = beta U[t-1] (1 - S[t-1]) + x[t]: the input is not scaled by 1 - beta and the reset's gradient is always detached.

    With U twice the membrane of LIF(tau=2), threshold and surrogate scaled alike: the same spikes and gradients.
    """

    impl = "snntorch"
    requirement = "snntorch==1.0.0"
    module = "snntorch"

    def neuron(self, kind: Neuron) -> Contender:
        import snntorch

        numbers = hard_leaky(kind, self.impl)
        scale = numbers["tau"]
        grad = snntorch.surrogate.atan(alpha=2.0 / scale)
        node = snntorch.Leaky(
            beta=numbers["decay"], threshold=numbers["threshold"] * scale, spike_grad=grad, reset_mechanism="zero"
        ).to(kind.threshold.device)

        def call(x: Tensor) -> Tensor:
            spikes, membrane = [], torch.zeros_like(x[0])
            for x_t in x:
                spike, membrane = node(x_t, membrane)
                spikes.append(spike)
            return torch.stack(spikes)

        oracle = LIF(tau=scale, threshold=numbers["threshold"], surrogate="atan", reset_gradient="detached")
        note = "the reset acts at the start of the next step and its gradient is always detached; membrane in units of the raw input"
        return Contender(self.impl, call, oracle, backend="eager", note=note)
