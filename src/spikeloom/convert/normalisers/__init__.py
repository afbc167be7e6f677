"""Normalisers: how much ANN activation one spike of a layer stands for; one file each. `known` maps names to classes."""

import sys

from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.core import registry

known: dict[str, type[Normaliser]] = registry.classes(sys.modules[__name__], Normaliser)
globals().update(known)
__all__ = ["Case", "Normaliser", "known", *known]
