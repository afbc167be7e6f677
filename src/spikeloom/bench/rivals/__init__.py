"""The implementations that a benchmark compares, one file each; ours among them. `rivals.known` maps class names to classes."""

import sys

from spikeloom.bench.rivals.base import Contender, Evaluator, Rival, Unavailable
from spikeloom.core import registry

known: dict[str, type[Rival]] = registry.classes(sys.modules[__name__], Rival)
globals().update(known)
__all__ = ["Contender", "Evaluator", "Rival", "Unavailable", "known", *known]
