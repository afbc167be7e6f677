"""Input encoders, one file each; `None` is for input that has a time axis already."""

import sys

from spikeloom.core import registry
from spikeloom.core.errors import ParameterError
from spikeloom.nn.encoders.base import Encoder

known: dict[str, type[Encoder]] = registry.classes(sys.modules[__name__], Encoder)
globals().update(known)
__all__ = ["Encoder", "build", "known", *known]


def build(encoder: "Encoder | str | None") -> Encoder | None:
    """`encoder` itself, or a new one by name (`"direct"`, `"bernoulli"`, `"latency"`, `"rate"`); None or `"none"` for input with time."""
    if encoder is None or encoder == "none":
        return None
    if isinstance(encoder, Encoder):
        return encoder
    by_name = {name.lower(): cls for name, cls in known.items()}
    return registry.lookup("encoder", str(encoder).lower(), by_name, ParameterError)()
