"""Input encoders, one file each; `None` is for input that has a time axis already."""

import re
import sys

from spikeloom.core import registry
from spikeloom.core.errors import ParameterError
from spikeloom.nn.encoders.base import Encoder

known: dict[str, type[Encoder]] = registry.classes(sys.modules[__name__], Encoder)
globals().update(known)
__all__ = ["Encoder", "build", "known", "spelled", *known]


def spelled(name: str) -> str:
    """How a recipe spells the encoder of that class name: `"first_spike"` for `FirstSpike`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def build(encoder: "Encoder | str | None") -> Encoder | None:
    """`encoder` itself, or a new one by name (`"direct"`, `"first_spike"`, ...); None or `"none"` for input with time."""
    if encoder is None or encoder == "none":
        return None
    if isinstance(encoder, Encoder):
        return encoder
    by_name = {spelled(name): cls for name, cls in known.items()}
    return registry.lookup("encoder", str(encoder).lower(), by_name, ParameterError)()
