from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def srp() -> Route:
    """Four steps show which neurons end with a negative membrane; these stay silent when the count starts."""
    return Route("SRP, Hao et al. 2023", bibliography.SRP, "Percentile", neuron="SRPIF", unit={}, prelude=4)
