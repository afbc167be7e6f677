"""Some of the images on their way through a graph: between neurons only spikes are kept, as bits where they have such a form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.engine import events
from spikeloom.engine.bits import MOST_PLANES, Bits, packed_or_none, unpack

ROWS = 256  # images times steps in one part


def few(inputs: Tensor, steps: int) -> tuple[Tensor, ...]:
    """The inputs `[N, ...]`, so many for each part."""
    return inputs.split(max(ROWS // steps, 1))


class Room:
    """One tensor for what is kept of each part: small ones among large that come and go would leave holes that no large one fits into."""

    def __init__(self, parts: int) -> None:
        self.parts, self.whole = parts, torch.empty(0)

    def put(self, k: int, x: Tensor) -> Tensor:
        """A copy of x, of part k; as a rule no part's is larger than the first one's."""
        if not k or x.dtype != self.whole.dtype or any(n > most for n, most in zip(x.shape, self.whole.shape[1:], strict=True)):
            self.whole = x.new_empty(self.parts, *x.shape)
        return self.whole[(k, *map(slice, x.shape))].copy_(x)


class Part:
    """Part k of the images. encoded: gives the graph's input, of the steps one after the other, `[T*B, ...]`, always the same.

    scales: what a neuron's spike stands for, filled by whoever has such scales; where there is none a spike is itself.
    kept: the spikes of neurons that others still read.
    """

    def __init__(self, module: fx.GraphModule, k: int, encoded: Callable[[], Tensor], scales: Mapping[fx.Node, Tensor]) -> None:
        self.runs, self.k, self.encoded, self.scales = fx.Interpreter(module), k, encoded, scales
        self.kept = dict[fx.Node, Bits | Tensor]()

    def keep(self, node: fx.Node, spikes: Tensor, room: Room) -> None:
        """Keep a neuron's spikes `[T*B, ...]`."""
        bits = None
        if spikes.dtype == torch.float32 and spikes.dim() in (2, 4):
            bits = packed_or_none(spikes) or packed_or_none(spikes, MOST_PLANES, signed=True)
        self.kept[node] = room.put(self.k, spikes) if bits is None else replace(bits, words=room.put(self.k, bits.words))

    def value(self, node: fx.Node) -> Tensor:
        """Of the steps one after the other, `[T*B, ...]`, computed from what is kept."""
        return _Values(self)[node]

    def computed(self, node: fx.Node, values: _Values) -> Any:
        """The value of one node, from those before it."""
        kept = self.kept.get(node)
        if kept is not None:
            spikes = unpack(kept) if isinstance(kept, Bits) else kept
            return spikes * self.scales[node] if node in self.scales else spikes
        if node.op == "placeholder":
            return self.encoded()
        if (found := self._by_events(node)) is not None:
            return found
        args, kwargs = (fx.map_arg(given, values.__getitem__) for given in (node.args, node.kwargs))
        return getattr(self.runs, node.op)(node.target, args, kwargs)

    def _by_events(self, node: fx.Node) -> Tensor | None:
        """The output of a layer that reads nothing but bits that are kept."""
        layer = self.runs.module.get_submodule(str(node.target)) if node.op == "call_module" and len(node.args) == 1 else None
        source: Any = node.args[0] if type(layer) in (nn.Conv2d, nn.Linear) else None
        bits, scale = self.kept.get(source), self.scales.get(source)
        if not isinstance(bits, Bits) or not bits.words.is_cpu or (scale is not None and scale.numel() > 1):
            return None
        weight, bias = layer.weight if scale is None else layer.weight * scale, layer.bias  # type: ignore[union-attr,operator]
        if isinstance(layer, nn.Linear):
            return events.linear(bits, weight, bias)  # type: ignore[arg-type]
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):  # type: ignore[union-attr]
            return None
        return events.conv2d(bits, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[union-attr,arg-type]


class _Values(dict[fx.Node, Any]):
    """Of the nodes that were asked for, and of those behind them."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part

    def __missing__(self, node: fx.Node) -> Any:
        self[node] = value = self.part.computed(node, self)
        return value


def given(node: fx.Node, neurons: Collection[fx.Node]) -> set[fx.Node]:
    """The neurons whose spikes reach a node past no other."""
    seen, left = set[fx.Node](), list(node.all_input_nodes)
    while left:
        one = left.pop()
        if one not in seen and one not in neurons:
            left += one.all_input_nodes
        seen.add(one)
    return {one for one in seen if one in neurons}
