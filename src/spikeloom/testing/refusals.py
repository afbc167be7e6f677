"""Contracts on what a neuron refuses, by name: what was given, what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from spikeloom.core.errors import ParameterError, ShapeError, SpikeloomError
from spikeloom.core.params import Param
from spikeloom.neurons import Neuron


def bad_parameters(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """A value outside a parameter's range, count or literals is refused with `Class.parameter`, the value and what is allowed."""
    label, start = neuron_class.__name__, _required(neuron_class, options)
    for name, param in neuron_class.params.items():
        for bad in _outside(param):
            _refused(neuron_class, {**start, name: bad}, ParameterError, f"{label}.{name}", repr(bad), param.interval)
            _refused(neuron_class, {**start, name: [param.default, bad]}, ParameterError, f"{label}.{name}", param.interval)
        for bad in ("wrong", [[param.default]]):
            _refused(neuron_class, {**start, name: bad}, ParameterError, f"{label}.{name}")
    for name, choice in neuron_class.choices.items():
        for bad in ("wrong", True, None):
            _refused(neuron_class, {**start, name: bad}, ParameterError, f"{label}.{name}", repr(bad), *map(repr, choice.allowed))
    for name, count in neuron_class.counts.items():
        for bad in (count.low - 1, count.low + 0.5, True, "three", None, math.nan, math.inf):
            _refused(neuron_class, {**start, name: bad}, ParameterError, f"{label}.{name}", repr(bad), f"at least {count.low}")


def unknown_names(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """An unknown option, learnable parameter or surrogate is refused by name."""
    label = neuron_class.__name__
    _refused(neuron_class, {**options, "nonsense": 1.0}, ParameterError, label, "'nonsense'")
    _refused(neuron_class, {**options, "learnable": ("nonsense",)}, ParameterError, label, "learnable", "'nonsense'")
    _refused(neuron_class, {**options, "surrogate": "nonsense"}, ParameterError, "surrogate", "'nonsense'")


def bad_shapes(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Input without a time and a batch axis, without steps, not divisible by T, or with another number of channels is refused."""
    label = neuron_class.__name__
    neuron = neuron_class(**options)
    for shape in ((), (3,), (0, 3)):
        _refused(neuron, {"x": torch.zeros(shape)}, ShapeError, label, str(list(shape)), "[T, B, ...]")
    neuron.steps = 4
    _refused(neuron, {"x": torch.zeros(6, 2)}, ShapeError, label, "[6, 2]", "T = 4", "SNN")
    neuron.steps = None
    for name, param in neuron_class.params.items():
        held, wide = getattr(neuron, name), torch.full((3,), param.default)
        if held is None:  # a default that is stored as nothing
            setattr(neuron, name, wide)
        else:
            held.data = wide
        _refused(neuron, {"x": torch.zeros(4, 2, 5)}, ShapeError, f"{label}.{name}", "3 channels", "[8, 5]")
        if held is None:
            setattr(neuron, name, None)
        else:
            held.data = torch.tensor(param.default)


def _outside(param: Param) -> Iterator[float]:
    """Values just and far outside the range."""
    yield math.nan
    for bound, is_open, away in ((param.low, param.low_open, -1.0), (param.high, param.high_open, 1.0)):
        if math.isinf(bound):
            yield from [bound] if param.infinite == "refused" else []
        else:
            yield from [bound] if is_open else []
            yield from (bound + 0.0625 * away, bound + 100.0 * away, away * math.inf)


def _refused(call: Any, arguments: Mapping[str, Any], error: type[SpikeloomError], *parts: str) -> None:
    """Assert that `call(**arguments)` raises `error` with all `parts` in its message."""
    shown = {name: list(value.shape) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}
    try:
        call(**arguments)
    except error as refusal:
        missing = [part for part in parts if part not in str(refusal)]
        assert not missing, f"the refusal of {shown} does not say {missing}: {refusal}"
    except Exception as other:
        raise AssertionError(f"{shown} raised {type(other).__name__} ({other}) instead of {error.__name__}") from other
    else:
        raise AssertionError(f"{shown} was not refused")


def _required(neuron_class: type[Neuron], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options without which the class cannot be built: all of them, or none."""
    try:
        neuron_class()
    except TypeError:
        return options
    return {}
