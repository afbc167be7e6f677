"""What a route is: a published conversion as one answer to every question that a conversion asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from spikeloom import neurons
from spikeloom.convert import normalisers
from spikeloom.convert.vocabulary import slope
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.paper import Paper
from spikeloom.core.params import Count, nearest
from spikeloom.neurons import Neuron
from spikeloom.nn import encoders
from spikeloom.nn.encoders import Encoder

INPUTS = {"current": "Direct", "poisson": "Bernoulli", "rate": "Rate"}
ALLOWED = {
    "pools": ("average", "gate", "increase"),
    "pool_neurons": ("none", "own"),
    "leaky": ("signed", "dropped"),
    "readout": ("membrane", "spikes"),
    "input": tuple(INPUTS),
}
CORRECTIONS = ("bias", "potential")


@dataclass(frozen=True)
class Route:
    """A conversion.

    normaliser, scale: the rule for the scales and its options. neuron, unit: the neuron and its options.
    pools: what becomes of max pools: average pools, gates that pass the most active input's spikes, or pools that pass every increase of
    the largest count. pool_neurons: whether average pools have neurons of their own.
    leaky: whether a leaky activation becomes a signed neuron or loses what is below 0. readout: whether the last layer's currents are
    averaged (its membrane), or neurons put there and their spikes counted. input: an analog current, Poisson spikes, or a
    deterministic rate. prelude: steps before the answer counts. corrections: of `"bias"` and `"potential"`, made on calibration inputs.
    rules: what `tailor` checks for this route.
    """

    title: str
    paper: Paper
    normaliser: str
    neuron: str = "IF"
    scale: Mapping[str, Any] = field(default_factory=dict)
    unit: Mapping[str, Any] = field(default_factory=lambda: {"reset": "subtract"})
    pools: str = "increase"
    pool_neurons: str = "none"
    leaky: str = "signed"
    readout: str = "membrane"
    input: str = "current"
    prelude: int = 0
    corrections: tuple[str, ...] = ()
    rules: str = ""

    def encoder(self) -> Encoder:
        """A new encoder for its input."""
        return encoders.known[INPUTS[self.input]]()

    def rule(self) -> normalisers.Normaliser:
        """Its normaliser."""
        return normalisers.known[self.normaliser](**self.scale)

    def make(self, activation: nn.Module, threshold: Tensor) -> Neuron:
        """The neuron in place of `activation`."""
        below, start = slope(activation), {k: v for k, v in self.unit.items() if k == "start"}
        if below and self.leaky == "signed":
            neuron: Neuron = neurons.known["SignedIF"](threshold=threshold.tolist(), slope=below, **start)
        else:
            more = {"prelude": self.prelude} if self.prelude else {}
            neuron = neurons.known[self.neuron](threshold=threshold.tolist(), **self.unit, **more)
        return neuron.to(threshold)

    def options(self) -> dict[str, Any]:
        """Every option with its present value."""
        hidden = ("title", "paper", "scale", "unit", "rules")
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in hidden}
        return {**own, **self.rule().options(), **self.units()}

    def units(self) -> dict[str, Any]:
        """The options of its neuron with their present values."""
        cls = neurons.known[self.neuron]
        unit = {name: p.default for table in (cls.params, cls.choices, cls.counts) for name, p in table.items()}  # type: ignore[attr-defined]
        for taken in ("threshold", "prelude", "reset_gradient"):
            unit.pop(taken, None)
        return {**unit, **self.unit}

    def override(self, method: str, changes: Mapping[str, Any]) -> Route:
        """The route with options replaced. Raises ParameterError for an unknown option or a value that is not allowed."""
        route = self
        # neuron and normaliser first: they decide which other options there are
        for name, value in sorted(changes.items(), key=lambda item: item[0] not in ("neuron", "normaliser")):
            route = route._with(method, name, value)
        calibrates = "prelude" in neurons.known[route.neuron].counts
        if route.prelude < calibrates or (route.prelude and not calibrates):
            allowed = f"at least 1 for {route.neuron}" if calibrates else f"0: {route.neuron} has no prelude"
            raise ParameterError(refusal(f"{method}.prelude", route.prelude, allowed))
        return route

    def _with(self, method: str, name: str, value: Any) -> Route:
        if name not in self.options():
            raise ParameterError(f"{method}: no option {name!r}; {nearest(name, self.options())}")
        allowed = {"neuron": tuple(neurons.known), "normaliser": tuple(normalisers.known), **ALLOWED}.get(name)
        if name == "corrections":
            value = (value,) if isinstance(value, str) else tuple(value)
            allowed, given = CORRECTIONS, value
        else:
            given = (value,)
        if allowed is not None and any(each not in allowed for each in given):
            raise ParameterError(refusal(f"{method}.{name}", value, "one of " + ", ".join(map(repr, allowed))))
        if name == "prelude":
            value = Count(0, low=0).check(f"{method}.prelude", value)
        if name == "neuron":
            return dataclasses.replace(self, neuron=value, unit={})
        if name == "normaliser":
            return dataclasses.replace(self, normaliser=value, scale={})
        if name in {f.name for f in dataclasses.fields(self)}:
            return dataclasses.replace(self, **{name: value})
        scale, unit = dict(self.scale), dict(self.unit)
        if name in self.rule().options():  # MMSE and the neurons both have a `start`
            scale[name] = value
        if name in self.units():
            unit[name] = value
        route = dataclasses.replace(self, scale=scale, unit=unit)
        try:
            route.rule()
        except TypeError:
            raise ParameterError(refusal(f"{method}.{name}", value, f"of type {type(self.options()[name]).__name__}")) from None
        return route
