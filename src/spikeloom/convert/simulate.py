"""The spiking graph run neuron by neuron, so that each can be corrected before the next one sees its spikes."""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.convert.affine import along
from spikeloom.convert.graph import Net
from spikeloom.core.progress import Progress, silent
from spikeloom.engine.bits import Bits, packed_or_none, unpack
from spikeloom.neurons import Neuron
from spikeloom.nn import sparse, still
from spikeloom.nn.encoders import Encoder
from spikeloom.nn.snn import SNN

ROWS = 256  # images times steps in one call


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
        parts = [_Part(net, shell, x, k) for k, x in enumerate(self.inputs.split(max(ROWS // total, 1)))]
        neurons, graph = dict(net.calls((Neuron,))), net.module.graph
        last = {given: node for node in neurons for given in _given(node, neurons)}  # its last reader
        once = still.held(still.readers(net.module, graph), total) if self.encoder.still else nullcontext()
        with once, sparse.swapped(sparse.readers(net.module, graph), "auto"):
            for node, neuron in self.progress(neurons.items(), len(neurons), "correcting, layer by layer"):
                source: Any = node.args[0]
                room, outputs = _Room(len(parts)), (neuron(part.value(source)) for part in parts)
                rates = [room.put(k, y.unflatten(0, (total, -1))[self.prelude :].mean(0)) for k, y in enumerate(outputs)]
                shift, room = correct(node, neuron, torch.cat(rates)), _Room(len(parts))
                for part in parts if node in last else ():
                    x = part.value(source)
                    part.keep(node, neuron(x if shift is None else x + along(shift, x.dim())), room)
                for part in parts:
                    for given in [given for given, reader in last.items() if reader is node]:
                        del part.kept[given]


class _Room:
    """One tensor for what is kept of each part: small ones among large that come and go would leave holes that no large one fits into."""

    def __init__(self, parts: int) -> None:
        self.parts, self.whole = parts, torch.empty(0)

    def put(self, k: int, x: Tensor) -> Tensor:
        """A copy of x, of part k; no part's is larger than the first one's."""
        if not k or x.dtype != self.whole.dtype:
            self.whole = x.new_empty(self.parts, *x.shape)
        return self.whole[(k, *map(slice, x.shape))].copy_(x)


class _Part:
    """Some of the images on their way through the graph. kept: the spikes of neurons that others still read."""

    def __init__(self, net: Net, shell: SNN, inputs: Tensor, k: int) -> None:
        self.shell, self.inputs, self.k = shell, inputs, k
        self.runs, self.kept = fx.Interpreter(net.module), dict[fx.Node, Bits | Tensor]()

    def keep(self, node: fx.Node, spikes: Tensor, room: _Room) -> None:
        bits = packed_or_none(spikes) if spikes.dtype == torch.float32 and spikes.dim() in (2, 4) else None
        self.kept[node] = room.put(self.k, spikes) if bits is None else replace(bits, words=room.put(self.k, bits.words))

    def value(self, node: fx.Node) -> Tensor:
        """Of the steps one after the other, `[(prelude + T)*B, ...]`, computed from what is kept."""
        return _Values(self)[node]

    def computed(self, node: fx.Node, values: _Values) -> Any:
        kept = self.kept.get(node)
        if kept is not None:
            return unpack(kept) if isinstance(kept, Bits) else kept
        if node.op == "placeholder":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.k)
                return self.shell.encode(self.inputs)
        args, kwargs = (fx.map_arg(given, values.__getitem__) for given in (node.args, node.kwargs))
        return getattr(self.runs, node.op)(node.target, args, kwargs)


class _Values(dict[fx.Node, Any]):
    """Of the nodes that were asked for, and of those behind them."""

    def __init__(self, part: _Part) -> None:
        super().__init__()
        self.part = part

    def __missing__(self, node: fx.Node) -> Any:
        self[node] = value = self.part.computed(node, self)
        return value


def _given(node: fx.Node, neurons: Container[fx.Node]) -> set[fx.Node]:
    """The neurons whose spikes reach a neuron past no other."""
    seen, left = set[fx.Node](), list(node.all_input_nodes)
    while left:
        one = left.pop()
        if one not in seen and one not in neurons:
            left += one.all_input_nodes
        seen.add(one)
    return {one for one in seen if one in neurons}
