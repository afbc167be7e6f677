from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from spikeloom.convert.affine import Affine
from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass
from spikeloom.neurons import Neuron


class PlaceNeurons(Pass):
    """A neuron takes the place of each activation; where a division by the scale is left before it, that is its threshold.

    make: `(activation, threshold) -> Neuron`.
    """

    requires = frozenset({"absorbed"})
    provides = frozenset({"spiking"})
    function = "changed"

    def __init__(self, make: Callable[[nn.Module, Tensor], Neuron]) -> None:
        self.make = make

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, activation in net.activations():
            source: Any = node.args[0]
            division = net.of(source)
            threshold = net.sample.new_tensor(1.0)
            if isinstance(division, Affine) and source.meta.get("moves") == "back" and len(source.users) == 1:
                threshold = 1 / division.scale
                net.remove(source)
            net.replace(node, self.make(activation, threshold))
            touched.append(node.name)
        return touched, None
