"""Activations of ordinary networks that are trained to become spiking ones, one file each."""

import sys

from torch import nn

from spikeloom.core import registry

known: dict[str, type[nn.Module]] = registry.classes(sys.modules[__name__], nn.Module)
globals().update(known)
__all__ = ["known", *known]
