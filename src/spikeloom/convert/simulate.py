"""The spiking graph run neuron by neuron, so that each can be corrected before the next one sees its spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.convert.affine import along
from spikeloom.convert.graph import Net
from spikeloom.convert.parts import Part, Room, few, given
from spikeloom.core.progress import Progress, silent
from spikeloom.neurons import Neuron
from spikeloom.nn import sparse, still
from spikeloom.nn.encoders import Encoder
from spikeloom.nn.snn import SNN


@dataclass(frozen=True)
class Trial:
    """What a correction compares: the ANN's graph in its own units, calibration inputs `[B, ...]`, and how the SNN will run.

    progress: told of long loops.
    """

    ann: Net
    inputs: Tensor
    steps: int
    encoder: Encoder
    prelude: int = 0
    progress: Progress = silent

    def activations(self) -> dict[str, Tensor]:
        """The ANN's activation of every node that becomes a neuron, `[B, ...]`."""
        names, found = {node.name for node, _ in self.ann.activations()}, {}

        def look(node: fx.Node, value: Any) -> None:
            if node.name in names:
                found[node.name] = value

        self.ann.watch(look, self.inputs)
        return found

    @torch.no_grad()
    def run(self, net: Net, correct: Callable[[fx.Node, Neuron, Tensor], Tensor | None]) -> None:
        """Run the spiking `net` neuron by neuron; `correct(node, neuron, rate)` may change the neuron, and give what its current gets more.

        rate: mean output `[B, ...]` over the steps that count; what it gives: one per channel, None for nothing. A few images at a time:
        between neurons only spikes are kept, as bits where they have such a form. Random inputs are the same every time.
        """
        shell, total = SNN(net.module, self.steps, self.encoder, prelude=self.prelude), self.prelude + self.steps
        parts = [Part(net.module, k, partial(_encoded, shell, x, k), {}) for k, x in enumerate(few(self.inputs, total))]
        neurons, graph = dict(net.calls((Neuron,))), net.module.graph
        last = {one: node for node in neurons for one in given(node, neurons)}  # its last reader
        once = still.held(still.readers(net.module, graph) if self.encoder.still else (), total)
        with once, sparse.swapped(sparse.readers(net.module, graph), "auto"):
            for node, neuron in self.progress(neurons.items(), len(neurons), "correcting, layer by layer"):
                source: Any = node.args[0]
                room, outputs = Room(len(parts)), (neuron(part.value(source)) for part in parts)
                rates = [room.put(k, y.unflatten(0, (total, -1))[self.prelude :].mean(0)) for k, y in enumerate(outputs)]
                shift, room = correct(node, neuron, torch.cat(rates)), Room(len(parts))
                for part in parts if node in last else ():
                    x = part.value(source)
                    part.keep(node, neuron(x if shift is None else x + along(shift, x.dim())), room)
                for part in parts:
                    for over in [one for one, reader in last.items() if reader is node]:
                        del part.kept[over]


def _encoded(shell: SNN, inputs: Tensor, k: int) -> Tensor:
    """Random inputs are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(k)
        return shell.encode(inputs)
