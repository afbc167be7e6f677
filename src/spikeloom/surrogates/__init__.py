"""Surrogate gradients, one file each. `surrogates.known` maps names to classes; `build` takes a name or an instance."""

import sys

from spikeloom.core import registry
from spikeloom.core.errors import ParameterError
from spikeloom.surrogates.base import Surrogate

known: dict[str, type[Surrogate]] = registry.classes(sys.modules[__name__], Surrogate)
globals().update(known)
__all__ = ["Surrogate", "build", "known", *known]


def build(surrogate: "Surrogate | str") -> Surrogate:
    """`surrogate` itself, or a new one of that name with the paper's defaults (`"rectangle"`, `"atan"`, ...)."""
    if isinstance(surrogate, Surrogate):
        return surrogate
    by_name = {name.lower(): cls for name, cls in known.items()}
    return registry.lookup("surrogate", str(surrogate).lower(), by_name, ParameterError)()
