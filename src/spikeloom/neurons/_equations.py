"""A neuron's equations as a text, and back: what a compiled or exported graph holds in the neuron's place.

The text names the class, its choices, counts and other class attributes with their values in the instance, the surrogate with its
parameters, and the names of the values. The values themselves are tensors of the graph.
"""

from __future__ import annotations

import inspect
import json
from itertools import count
from typing import Any

from torch import nn

from spikeloom.core.errors import SpikeloomError, refusal
from spikeloom.engine import CannotFuse
from spikeloom.neurons.base import Neuron
from spikeloom.surrogates import Surrogate

Facts = tuple[tuple[type, tuple[tuple[str, str, Any], ...]], ...]
_classes: dict[str, type] = {}


def facts(neuron: Neuron) -> Facts:
    """The classes and attributes of a neuron and of its surrogate. torch.compile traces it and guards every attribute."""
    return _read(neuron), _read(neuron.surrogate)


def _read(thing: Any) -> tuple[type, tuple[tuple[str, str, Any], ...]]:
    found = []
    for name in _readable(type(thing)):
        value = getattr(thing, name)
        if isinstance(value, float):
            found.append((name, "float", value.hex()))  # torch.compile may make a number a variable of the graph, but no text
        elif value is None or isinstance(value, bool | int | str):
            found.append((name, "plain", value))
        else:
            found.append((name, "other", type(value).__name__))
    return type(thing), tuple(found)


def _readable(cls: Any) -> tuple[str, ...]:
    """What is declared, and the public data of the class body."""
    base = Neuron if issubclass(cls, Neuron) else Surrogate
    names = {*cls.choices, *cls.counts} if base is Neuron else {*cls.params}
    for each in cls.__mro__[: cls.__mro__.index(base)]:
        data = (name for name, value in vars(each).items() if not (hasattr(value, "__get__") or inspect.isclass(value)))
        names.update(name for name in data if name[0] != "_" and not hasattr(base, name) and name not in base.__annotations__)
    return tuple(sorted(names))


_readable._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compile takes the answer for a constant


def text(facts: Facts, names: tuple[str, ...]) -> str:
    """Facts and names of values as a text. Raises CannotFuse for an attribute that is neither number, text nor None."""
    neuron, surrogate = (_written(*each) for each in facts)
    return json.dumps({"neuron": neuron, "surrogate": surrogate, "values": names})


def _written(cls: type, attributes: tuple[tuple[str, str, Any], ...]) -> list[Any]:
    plain = {}
    for name, kind, value in attributes:
        if kind == "other":
            raise CannotFuse(
                f"{cls.__name__}.{name} is a {value}, and a graph holds only numbers and texts of a neuron; begin its name with _ if it is "
                "the same for all neurons of the class; the reference loop runs"
            )
        plain[name] = float.fromhex(value) if kind == "float" else value
    return [_label(cls), plain]


def equations(text: str) -> tuple[Neuron, tuple[str, ...]]:
    """A neuron good for `step` alone, and the names of its values. Raises SpikeloomError for a class nobody has imported."""
    told = json.loads(text)
    cls, attributes = told["neuron"]
    neuron = object.__new__(_found(cls, Neuron))
    nn.Module.__init__(neuron)
    cls, own = told["surrogate"]
    surrogate = object.__new__(_found(cls, Surrogate))
    vars(surrogate).update(own)
    vars(neuron).update(attributes, surrogate=surrogate, learnable=(), steps=None, _probe=None)
    return neuron, tuple(told["values"])


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _label(cls: type) -> str:
    """The name of a class; a number follows it where an earlier one, perhaps with other equations, has the same."""
    for n in count(1):
        label = _name(cls) if n == 1 else f"{_name(cls)}#{n}"
        if _classes.setdefault(label, cls) is cls:
            return label
    raise AssertionError


def _found(label: str, base: type) -> Any:
    if label not in _classes:
        same = [cls for cls in _family(base) if _name(cls) == label]
        if len(same) != 1:
            known = "a class of this process" if not same else f"the name of one class (it is that of {len(same)})"
            raise SpikeloomError(refusal("the equations of a graph", label, known, "import the module that defines it first"))
        _classes[label] = same[0]
    return _classes[label]


def _family(base: type) -> list[type]:
    return [cls for child in base.__subclasses__() for cls in (child, *_family(child))]
