"""Residual blocks, one file each."""

import sys

from spikeloom.core import registry
from spikeloom.nn.blocks.base import Residual

known: dict[str, type[Residual]] = registry.classes(sys.modules[__name__], Residual)
globals().update(known)
__all__ = ["Residual", "known", *known]
