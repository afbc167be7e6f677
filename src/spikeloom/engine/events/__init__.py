"""Event-driven operators on `Bits`: no work for what is silent. `lay` prepares a weight once; `explain` says which way a call takes;
`layer` and `largest` have gradients."""

from spikeloom.engine.events.conv import conv2d, explain, linear
from spikeloom.engine.events.dispatch import Choice
from spikeloom.engine.events.gradient import conv2d_weight
from spikeloom.engine.events.input import conv2d_input
from spikeloom.engine.events.layer import Geometry, Taken, layer
from spikeloom.engine.events.pool import max_pool2d, sum_pool2d
from spikeloom.engine.events.pooled import largest
from spikeloom.engine.events.weights import Laid, lay

__all__ = [
    "Choice", "Geometry", "Laid", "Taken", "conv2d", "conv2d_input", "conv2d_weight", "explain", "largest", "lay", "layer", "linear",
    "max_pool2d", "sum_pool2d",
]  # fmt: skip
