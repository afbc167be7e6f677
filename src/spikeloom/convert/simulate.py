"""The spiking graph run once, layer by layer, so that a layer can be corrected before the next one sees its spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.convert.graph import Net
from spikeloom.neurons import Neuron
from spikeloom.nn.encoders import Encoder
from spikeloom.nn.snn import SNN


@dataclass(frozen=True)
class Trial:
    """What a correction compares: the ANN's graph in its own units, calibration inputs `[B, ...]`, and how the SNN will run."""

    ann: Net
    inputs: Tensor
    steps: int
    encoder: Encoder
    prelude: int = 0

    def activations(self) -> dict[str, Tensor]:
        """The ANN's activation of every node that becomes a neuron, `[B, ...]`."""
        names, found = {node.name for node, _ in self.ann.activations()}, {}

        def look(node: fx.Node, value: Any) -> None:
            if node.name in names:
                found[node.name] = value

        self.ann.watch(look, self.inputs)
        return found

    def run(self, net: Net, correct: Callable[[fx.Node, Neuron, Tensor, Tensor], Tensor | None]) -> None:
        """Run the spiking `net`; `correct(node, neuron, current, spikes)` may change the neuron and give other spikes.

        current, spikes: `[T*B, ...]`, the prelude included. Random inputs are the same every time.
        """
        shell = SNN(net.module, self.steps, self.encoder, prelude=self.prelude)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            folded = shell.encode(self.inputs)
        currents: dict[fx.Node, Tensor] = {}
        wanted = {node.args[0] for node, _ in net.calls((Neuron,))}

        def look(node: fx.Node, value: Any) -> Tensor | None:
            if node in wanted:
                currents[node] = value
            neuron = net.of(node)
            if not isinstance(neuron, Neuron):
                return None
            source: Any = node.args[0]
            spikes = correct(node, neuron, currents[source], value)
            if all(user is node for user in source.users):
                del currents[source]
            return spikes

        net.watch(look, folded)

    def rate(self, spikes: Tensor) -> Tensor:
        """Mean output `[B, ...]` over the steps that count."""
        return spikes.unflatten(0, (self.prelude + self.steps, -1))[self.prelude :].mean(0)
