"""Spiking neurons, one file each. `neurons.known` maps names to classes."""

import sys

from spikeloom.core import registry
from spikeloom.neurons.base import Carried, Neuron, State, carrying

known: dict[str, type[Neuron]] = registry.classes(sys.modules[__name__], Neuron)
globals().update(known)
__all__ = ["Carried", "Neuron", "State", "carrying", "known", *known]
