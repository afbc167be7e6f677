from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def opi() -> Route:
    """Membranes start at half the threshold, which makes the expected rounding error zero; scales by percentile."""
    return Route("OPI, Bu et al. 2022", bibliography.OPI, "Percentile", unit={"reset": "subtract", "start": 0.5})
