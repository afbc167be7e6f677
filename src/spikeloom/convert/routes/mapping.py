from dataclasses import replace

from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def termapping() -> Route:
    """Neurons with a second, negative threshold that take back spikes sent too early."""
    return Route("TerMapping, Yu et al. 2020", bibliography.TERMAPPING, "DataBased", neuron="TerIF", unit={})


def augmapping() -> Route:
    """Augmented spikes: a coefficient says how many spikes one step stands for, taken back where too many."""
    return replace(termapping(), title="AugMapping, Yu et al. 2020", neuron="AugIF")
