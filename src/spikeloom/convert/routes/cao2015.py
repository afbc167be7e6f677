from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def cao2015() -> Route:
    """Weights as they are, Poisson input, average pools with neurons, reset to zero, spikes counted."""
    return Route(
        "Cao et al. 2015", bibliography.CAO, "Unscaled", unit={"reset": "zero", "fires": "above", "floor": "zero"},
        pools="average", pool_neurons="own", readout="spikes", input="poisson", rules="cao2015",
    )  # fmt: skip
