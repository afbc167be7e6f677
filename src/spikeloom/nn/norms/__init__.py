"""Temporal normalisations, one file each."""

import sys

from spikeloom.core import registry
from spikeloom.nn.norms.base import TemporalNorm

known: dict[str, type[TemporalNorm]] = registry.classes(sys.modules[__name__], TemporalNorm)
globals().update(known)
__all__ = ["TemporalNorm", "known", *known]
