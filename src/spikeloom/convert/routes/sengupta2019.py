from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def sengupta2019() -> Route:
    """Spike-Norm: thresholds searched layer by layer in the spiking network; Poisson input."""
    return Route(
        "Spike-Norm, Sengupta et al. 2019", bibliography.SPIKE_NORM, "SpikeNorm", pools="average", input="poisson", rules="sengupta2019"
    )
