"""Convolutions and linear layers that read spikes work by events: found in a network's graph, swapped while its SNN runs.

What a layer reads is followed back to neurons, through pools, sums, flattening and concatenation: whole numbers up to a bound, times a
power of two. Every call verifies that while it packs them, so that a neuron of one's own costs nothing but the events; where nothing but
max-pools lies between, the neuron is asked to emit bits, and the pools to hand them on.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.utils import _pair

from spikeloom.engine import events
from spikeloom.neurons import Neuron
from spikeloom.nn.pool import SpikingMaxPool2d

MOST = 15  # the largest number that is packed
EVERY = 16  # updates of the weights from one look of "auto" at a layer that it judged dense to the next
SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
SHAPED = {torch.flatten, "flatten", "reshape", "view", "contiguous", "clone", "unflatten"}
KEPT = (nn.Identity, nn.Flatten, nn.Unflatten, nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, SpikingMaxPool2d)


class Counts(NamedTuple):
    """scale times whole numbers from 0 to top."""

    top: int
    scale: float = 1.0


@dataclass
class Reader:
    """A layer and what it reads, None where that is not known to be counts; how its last call was computed.

    before: the neurons whose spikes it reads, and the max-pools between them and it.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    counts: Counts | None
    before: tuple[nn.Module, ...] = ()
    taken: events.Taken | None = None

    @property
    def way(self) -> events.Taken:
        """How its last call was computed."""
        if self.counts is None:
            return events.Taken("dense", "dense", None, "its input is not known to be spikes")
        return self.taken or events.Taken("-", "-", None, "not called yet", "-")  # type: ignore[arg-type]

    def forward(self, x: Tensor, engine: Any) -> Tensor:
        assert self.counts is not None
        layer, (top, scale) = self.layer, self.counts
        geometry = events.Geometry()
        if isinstance(layer, nn.Conv2d):
            geometry = events.Geometry(layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[arg-type]
        y, self.taken = events.layer(x, layer.weight, layer.bias, geometry, top.bit_length(), scale, engine)
        return y


def readers(net: nn.Module, graph: fx.Graph | None, given: Counts | None = None) -> list[Reader]:
    """The convolutions and linear layers of `net` that its `graph` calls, in this order. given: what the network reads."""
    found: dict[nn.Module, Reader] = {}
    modules, known = dict(net.named_modules()), _Known(given)
    for node in graph.nodes if graph else ():
        known.see(node, modules)
        layer = modules[node.target] if node.op == "call_module" else None
        if type(layer) not in (nn.Conv2d, nn.Linear):
            continue
        read = known.of(node.args[0]) if len(node.args) == 1 else None
        if layer in found and found[layer].counts != read:  # called twice, on different kinds
            read = None
        if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
            read = None
        before = _before(node, modules) + (found[layer].before if layer in found else ())
        found[layer] = Reader(node.target, layer, read, before)  # type: ignore[index, arg-type]
    return list(found.values())


class Looks:
    """Which readers work by events, or are looked at: `"auto"` leaves what it judged dense alone for EVERY updates of the weights.

    Between two updates they are always the same, so that a checkpoint that computes a call again finds what the call did.
    """

    def __init__(self, found: Sequence[Reader]) -> None:
        self.found, self.updates = found, -1
        self._of: tuple[str, int] | None = None
        self._now: list[Reader] = []

    def now(self, engine: str) -> list[Reader]:
        """Of a call at this time."""
        weights = [r.layer.weight for r in self.found]
        at = engine, sum(w._version for w in weights if not w.is_inference())  # those made under inference_mode have no version
        if at != self._of:
            self._of, self.updates = at, self.updates + 1
            rest = engine == "auto" and self.updates % EVERY
            self._now = [r for r in self.found if not rest or r.taken is None or not r.taken.dense]
        return self._now


@contextmanager
def swapped(found: Sequence[Reader], engine: str) -> Iterator[None]:
    """Inside, each reader of counts works by events: `"sparse"` wherever it can, `"auto"` where that is estimated to be quicker."""
    active = [r for r in found if r.counts is not None and "forward" not in r.layer.__dict__] if engine != "dense" else []
    before = {module for reader in active for module in reader.before} - _hooked(found)
    pools = [m for m in before if isinstance(m, nn.MaxPool2d) and "forward" not in m.__dict__]
    try:
        for module in before:
            if isinstance(module, Neuron):
                module.__dict__["_emits"] = True
        for pool in pools:
            pool.__dict__["forward"] = partial(_pooled, pool)
        for reader in active:
            reader.layer.__dict__["forward"] = lambda x, reader=reader: reader.forward(x, engine)
        yield
    finally:
        for module in [*pools, *(reader.layer for reader in active)]:
            module.__dict__.pop("forward")
        for module in before:
            module.__dict__.pop("_emits", None)


def _hooked(found: Sequence[Reader]) -> set[nn.Module]:
    """What lies before readers where a hook may write to spikes without leaving a trace."""
    every = bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)
    return {m for r in found if every or any(k._forward_hooks or k._forward_pre_hooks for k in (r.layer, *r.before)) for m in r.before}


def _before(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[nn.Module, ...]:
    """The neuron whose very spikes a node reads, before it the max-pools between them; none where anything else lies between."""
    pools: list[nn.Module] = []
    while node.args and isinstance(node := node.args[0], fx.Node) and node.op == "call_module":  # type: ignore[assignment]
        module = modules[str(node.target)]
        if any(user.target is getattr and user.args[1] == "data" for user in node.users):
            break  # what is written there leaves no trace
        if isinstance(module, Neuron):
            return (*pools, module)
        if type(module) is nn.MaxPool2d and not (module.ceil_mode or module.return_indices) and set(_pair(module.dilation)) == {1}:
            pools.append(module)
        elif type(module) is not nn.Identity:
            break
    return ()


def _pooled(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    return events.largest(x, _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding))


class _Known:
    """What is known of the values of a graph's nodes, seen in order."""

    def __init__(self, given: Counts | None) -> None:
        self.given = given
        self.counts: dict[fx.Node, Counts] = {}

    def of(self, node: Any) -> Counts | None:
        return self.counts.get(node) if isinstance(node, fx.Node) else None

    def see(self, node: fx.Node, modules: dict[str, nn.Module]) -> None:
        if node.op == "placeholder":
            counts, self.given = self.given, None  # of the first
        elif node.op == "call_module":
            counts = _emitted(modules[str(node.target)], self.of(node.args[0]) if node.args else None)
        elif node.op in ("call_function", "call_method"):
            counts = self._called(node)
        else:
            counts = None
        if counts is not None and counts.top <= MOST:
            self.counts[node] = counts

    def _called(self, node: fx.Node) -> Counts | None:
        inputs = [self.of(each) for each in node.all_input_nodes]
        if not inputs or None in inputs:
            return None
        first, *rest = [each for each in inputs if each is not None]
        both = len(node.args) == 2 and len(inputs) == 2 and not node.kwargs
        if node.target in SUMS and both and first.scale == rest[0].scale:
            return Counts(first.top + rest[0].top, first.scale)
        if node.target in PRODUCTS and both:
            return Counts(first.top * rest[0].top, first.scale * rest[0].scale)
        if node.target in (torch.cat, torch.concat) and all(each.scale == first.scale for each in rest):
            return Counts(max(each.top for each in (first, *rest)), first.scale)
        return first if node.target in SHAPED and not rest else None


def _emitted(module: nn.Module, read: Counts | None) -> Counts | None:
    """What a module makes of what it reads."""
    if isinstance(module, Neuron):
        return None if module.fires == "smooth" else Counts(getattr(module, "levels", 1))
    if read is None:
        return None
    if isinstance(module, nn.Dropout | nn.Dropout2d) and module.training and module.p:
        return None
    if type(module) is nn.AvgPool2d and not module.ceil_mode and module.divisor_override is None:
        window, padded = math.prod(_pair(module.kernel_size)), any(_pair(module.padding))  # a traced net has lists
        exact = window.bit_count() == 1 and (module.count_include_pad or not padded)  # scaling by a power of two rounds nothing
        return Counts(read.top * window, read.scale / window) if exact else None
    return read if type(module) in KEPT else None
