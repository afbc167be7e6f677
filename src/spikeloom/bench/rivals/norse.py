"""Norse: LIFBoxCell in its documented loop over time."""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.bench.rivals.base import Contender, Rival, hard_leaky
from spikeloom.neurons import LIF, Neuron
from spikeloom.surrogates import Surrogate


class SuperSpike(Surrogate):
    """1 / (1 + |z|)^2, the slope that Norse 1.1 uses whatever alpha says."""

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / (z.abs() + 1) ** 2


class Norse(Rival):
    """Has no arctangent: its SuperSpike instead, and the gate's oracle has the same."""

    impl = "norse"
    requirement = "norse==1.1.0"
    module = "norse.torch"

    def neuron(self, kind: Neuron) -> Contender:
        from norse.torch import LIFBoxCell, LIFBoxParameters
        from norse.torch.functional.lif_box import LIFBoxFeedForwardState

        numbers = hard_leaky(kind, self.impl)
        number = {"device": kind.threshold.device}
        constants = LIFBoxParameters(
            tau_mem_inv=torch.tensor(1.0, **number), v_leak=torch.tensor(0.0, **number), v_reset=torch.tensor(0.0, **number),
            v_th=torch.tensor(numbers["threshold"], **number), method="super",
        )  # fmt: skip
        cell = LIFBoxCell(constants, dt=1 / numbers["tau"])

        def call(x: Tensor) -> Tensor:
            spikes, state = [], LIFBoxFeedForwardState(v=torch.zeros_like(x[0]))
            for x_t in x:
                spike, state = cell(x_t, state)
                spikes.append(spike)
            return torch.stack(spikes)

        oracle = LIF(tau=numbers["tau"], threshold=numbers["threshold"], surrogate=SuperSpike())
        return Contender(self.impl, call, oracle, backend="eager", note="SuperSpike surrogate: it has no arctangent")
