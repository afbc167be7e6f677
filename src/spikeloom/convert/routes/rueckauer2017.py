from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def rueckauer2017() -> Route:
    """99.9th percentile of each layer, analog input, biases as currents, reset by subtraction, spiking max pools."""
    return Route("Rueckauer et al. 2017", bibliography.RUECKAUER, "Percentile", pools="gate")
