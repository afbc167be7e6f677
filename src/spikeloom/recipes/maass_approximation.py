from spikeloom.core import bibliography
from spikeloom.experiments.maass import Approximation


def maass_approximation() -> Approximation:
    """Three continuous functions by spike times alone, with more and more of Maass's units."""
    return Approximation(recipe="maass-approximation", title="Functions by temporal sigmoid units", paper=bibliography.MAASS, minutes=0.2)
