from dataclasses import replace

from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def diehl2015_data() -> Route:
    """Largest activation of each layer becomes 1; Poisson input, average pools with neurons, reset to zero, spikes counted."""
    return Route(
        "Diehl et al. 2015, data-based", bibliography.DIEHL, "DataBased", unit={"reset": "zero"},
        pools="average", pool_neurons="own", readout="spikes", input="poisson",
    )  # fmt: skip


def diehl2015_model() -> Route:
    """The same with the largest drive that the weights allow in place of the largest activation seen."""
    return replace(diehl2015_data(), title="Diehl et al. 2015, model-based", normaliser="ModelBased")
