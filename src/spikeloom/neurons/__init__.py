"""Spiking neurons, one file each. `neurons.known` maps names to classes."""

import sys

from spikeloom.core import registry
from spikeloom.core.temporal import State
from spikeloom.engine import operator
from spikeloom.neurons import _equations
from spikeloom.neurons._integrator import Integrator
from spikeloom.neurons.base import Neuron

known: dict[str, type[Neuron]] = registry.classes(sys.modules[__name__], Neuron)
globals().update(known)
operator.Language.facts, operator.Language.text, operator.Language.equations = _equations.facts, _equations.text, _equations.equations
__all__ = ["Integrator", "Neuron", "State", "known", *known]
