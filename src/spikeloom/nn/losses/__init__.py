"""Losses over outputs `[T, B, classes]` and labels `[B]`, one file each."""

import sys
from collections.abc import Callable

from torch import Tensor

from spikeloom.core import registry
from spikeloom.core.errors import ParameterError

known: dict[str, Callable[..., Tensor]] = registry.functions(sys.modules[__name__])
globals().update(known)
__all__ = ["build", "known", *known]


def build(name: str) -> Callable[..., Tensor]:
    """The loss of that name."""
    return registry.lookup("loss", name, known, ParameterError)
