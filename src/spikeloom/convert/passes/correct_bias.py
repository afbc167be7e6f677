from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.convert.affine import Affine, along
from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.simulate import Trial
from spikeloom.convert.vocabulary import WEIGHTED, shift_outputs
from spikeloom.neurons import Neuron


class CorrectBias(Pass):
    """Each channel's current gets what its mean rate lacks of the ANN's mean activation, layer by layer (Li et al. 2021)."""

    requires = frozenset({"spiking"})
    function = "changed"

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def apply(self, net: Net) -> tuple[list[str], Mapping[str, Tensor] | None]:
        wanted, shifts = self.trial.activations(), {}

        def correct(node: fx.Node, neuron: Neuron, rate: Tensor) -> Tensor:
            scale = net.scales[node.name]
            lacking = wanted[node.name] - rate * along(scale, rate.dim())
            per_channel = lacking.transpose(0, 1).flatten(1).mean(1)
            shifts[node] = per_channel / scale * neuron.threshold  # the membrane's units
            return shifts[node]

        self.trial.run(net, correct)
        for node, shift in shifts.items():
            source: Any = node.args[0]
            layer = net.of(source)
            if isinstance(layer, (*WEIGHTED, Affine)) and len(source.users) == 1:
                shift_outputs(layer, shift)
            else:
                net.before(node, source, f"{node.name}_bias", Affine(torch.ones_like(shift), shift))
        return [node.name for node in shifts], None
