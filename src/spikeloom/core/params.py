"""Declared parameters: default, range, unit and documentation in one line of a class body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from spikeloom.core.errors import ParameterError, refusal


class _Declared:
    """What a class declares and its instances hold as a plain value; type checkers are told so."""

    if TYPE_CHECKING:

        def __get__(self, instance: object, owner: type | None = None) -> Any: ...


@dataclass(frozen=True)
class Param(_Declared):
    """A real parameter: a float for all channels, or one value per channel.

    `low`/`high` bound the value; an open bound excludes the end point, and infinity unless `infinite` is "allowed".
    """

    default: float
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    unit: str = ""
    doc: str = ""
    infinite: str = "refused"

    @property
    def interval(self) -> str:
        """The range as mathematicians write it, e.g. `(0, 1]`."""
        endless = self.infinite == "refused"
        left = "(" if self.low_open or (endless and math.isinf(self.low)) else "["
        right = ")" if self.high_open or (endless and math.isinf(self.high)) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def check(self, name: str, value: Any, advice: str = "") -> torch.Tensor:
        """`value` as a float tensor, 0-d or `[channels]`; raises ParameterError when it is out of range."""
        try:
            tensor = torch.as_tensor(value, dtype=torch.get_default_dtype())
        except (TypeError, ValueError, RuntimeError):
            raise ParameterError(refusal(name, value, "a number or a list with one number per channel")) from None
        if tensor.dim() > 1 or not tensor.numel():
            raise ParameterError(refusal(name, list(tensor.shape), "a scalar or one-dimensional (one value per channel)"))
        low = tensor > self.low if self.low_open else tensor >= self.low
        high = tensor < self.high if self.high_open else tensor <= self.high
        fits = low & high & (tensor.isfinite() | (self.infinite == "allowed"))
        if not bool(fits.all()):
            raise ParameterError(refusal(name, value, f"in {self.interval}", advice or self.doc))
        return tensor


@dataclass(frozen=True)
class Choice(_Declared):
    """A scientific choice: one of a few named literals; the first is the default."""

    allowed: tuple[str, ...]
    doc: str = ""

    @property
    def default(self) -> str:
        """The paper's choice."""
        return self.allowed[0]

    def check(self, name: str, value: Any) -> str:
        """`value` if it is allowed; raises ParameterError otherwise."""
        if value not in self.allowed:
            raise ParameterError(refusal(name, value, "one of " + ", ".join(map(repr, self.allowed)), self.doc))
        return value


@dataclass(frozen=True)
class Count(_Declared):
    """A whole-number parameter with a lower bound, such as the number of levels."""

    default: int
    low: int = 1
    doc: str = ""

    def check(self, name: str, value: Any) -> int:
        """`value` as an int; raises ParameterError when it is not whole or too small."""
        try:
            whole = not isinstance(value, bool) and int(value) == value and value >= self.low
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise ParameterError(refusal(name, value, f"a whole number of at least {self.low}", self.doc))
        return int(value)


class Values:
    """Parameter values by name, as `step` reads them: a SimpleNamespace that torch.compile can trace; `given` is the dictionary."""

    def __init__(self, values: dict[str, torch.Tensor]) -> None:
        self.given = values
        for name, value in values.items():
            setattr(self, name, value)


def declared(cls: type, kind: type | tuple[type, ...]) -> dict[str, Any]:
    """The class attributes of `cls` and its bases that are of `kind`, bases first."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, kind):
                found[name] = value
            else:
                found.pop(name, None)
    return found


def nearest(word: str, options: Mapping[str, Any] | list[str]) -> str:
    """`did you mean X?`, or the list of all options when nothing is close."""
    import difflib

    close = difflib.get_close_matches(word, list(options), n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(sorted(options))
