"""Passes: small rewritings of the graph, one file each. `known` maps class names to classes."""

import sys

from spikeloom.convert.passes.base import Pass
from spikeloom.core import registry

known: dict[str, type[Pass]] = registry.classes(sys.modules[__name__], Pass)
globals().update(known)
__all__ = ["Pass", "known", *known]
