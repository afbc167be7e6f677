from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def cos() -> Route:
    """Four steps show whose count will be one spike off; the initial potential is shifted by one spike."""
    return Route("COS, Hao et al. 2023", bibliography.COS, "Percentile", neuron="COSIF", unit={}, prelude=4)
