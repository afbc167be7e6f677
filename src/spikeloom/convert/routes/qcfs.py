from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def qcfs() -> Route:
    """Thresholds learned by the quantised activation that the network was trained with; membranes start at half of them."""
    return Route("QCFS, Bu et al. 2022", bibliography.QCFS, "Learned", unit={"reset": "subtract", "start": 0.5})
