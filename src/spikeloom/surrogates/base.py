"""What a surrogate is: a smooth primitive, its derivative, and the width of the window where it lets gradient pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.paper import Paper
from spikeloom.core.params import Param, declared, nearest


class Surrogate:
    """Stands in for the derivative of the step function, as a function of z = membrane - threshold.

    A subclass declares `Param`s, `derivative(z)` and `primitive(z)` (whose derivative it is, rising from 0 to about 1),
    in operations on z alone. The forward pass always fires with a true step: a surrogate cannot touch it.
    """

    paper: Paper
    params: dict[str, Param] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.params = {**cls.params, **declared(cls, Param)}

    def __init__(self, **values: float) -> None:
        for name in values:
            if name not in self.params:
                raise ParameterError(f"{type(self).__name__}: no parameter {name!r}; {nearest(name, self.params)}")
        for name, param in self.params.items():
            label, value = f"{type(self).__name__}.{name}", values.get(name, param.default)
            if param.check(label, value).dim():
                raise ParameterError(refusal(label, value, "one number"))
            setattr(self, name, float(value))

    def derivative(self, z: Tensor) -> Tensor:
        """The stand-in for dspike/dmembrane at z; same shape as z."""
        raise NotImplementedError

    def primitive(self, z: Tensor) -> Tensor:
        """The function whose derivative is `derivative`; same shape as z."""
        raise NotImplementedError

    @property
    def half_support(self) -> float:
        """The derivative is 0 where |z| is at or above this; infinity when it never is."""
        return float("inf")

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={getattr(self, name):g}" for name in self.params)
        return f"{type(self).__name__}({inner})"

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def positive(z: Tensor) -> Tensor:
    """1 where z > 0, else 0, in z's own dtype: torch's bool tensors cost 7 to 40 copies on a CPU, these two operations 3."""
    return torch.relu(torch.sign(z))
