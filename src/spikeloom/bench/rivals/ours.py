"""spikeloom itself: the fastest backend it has, the packed memory where a neuron offers it, and layers that work by events."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spikeloom import engine
from spikeloom.bench.rivals.base import Contender, OverTime, Rival, Unavailable
from spikeloom.core.errors import ParameterError
from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN


class Spikeloom(Rival):
    """A neuron as an SNN calls it."""

    impl = "spikeloom"

    def neuron(self, kind: Neuron) -> Contender:
        return _contender(self.impl, copy.deepcopy(kind), kind)

    def network(self, net: nn.Module) -> nn.Module:
        return OverTime(SNN(copy.deepcopy(net), steps=1, encoder=None))


class SpikeloomPacked(Rival):
    """The same with a rectangle and a detached reset, whose backward pass needs two bits per element and step; a network keeps its
    neurons and packs the spikes that its layers save."""

    impl = "spikeloom-packed"

    def neuron(self, kind: Neuron) -> Contender:
        options = {"surrogate": "rectangle", "reset_gradient": "detached"}
        given = {name: getattr(kind, name) for name in (*kind.choices, *kind.counts) if name not in options}
        values = {name: getattr(kind, name).detach() for name in kind.params}
        try:
            packed = type(kind)(**given, **values, **options, memory="packed")
        except (ParameterError, TypeError) as error:
            raise Unavailable(f"{type(kind).__name__} has no memory='packed' ({error})") from error
        device = next((v.device for v in kind.values().values()), None)
        oracle = type(kind)(**given, **values, **options)
        return _contender(self.impl, packed.to(device), oracle, "rectangle surrogate, reset detached")

    def network(self, net: nn.Module) -> nn.Module:
        return OverTime(SNN(copy.deepcopy(net), steps=1, encoder=None, memory="packed"))


class SpikeloomEvents(Rival):
    """A network whose layers work by events where that is estimated to be quicker; its neurons are the same."""

    impl = "spikeloom-events"

    def neuron(self, kind: Neuron) -> Contender:
        raise Unavailable("events are of layers, not of neurons")

    def network(self, net: nn.Module) -> nn.Module:
        return OverTime(SNN(copy.deepcopy(net), steps=1, encoder=None, engine="auto"))


def _contender(impl: str, neuron: Neuron, oracle: Neuron, note: str = "") -> Contender:
    def call(x: Tensor) -> Tensor:
        neuron.steps = x.shape[0]  # B = 1
        return neuron(x)

    learned = tuple(p for p in neuron.parameters() if p.requires_grad)
    dtype = next((v.dtype for v in neuron.values().values()), torch.float32)
    return Contender(impl, call, oracle, learned, tuple(neuron.buffers()), engine.explain(neuron, dtype)[0], note)
