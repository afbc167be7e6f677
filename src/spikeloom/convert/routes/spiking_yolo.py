from spikeloom.convert.routes.base import Route
from spikeloom.core import bibliography


def spiking_yolo() -> Route:
    """A scale for each channel; leaky activations become signed neurons with an imbalanced threshold."""
    return Route("Spiking-YOLO, Kim et al. 2020", bibliography.SPIKING_YOLO, "ChannelWise")
