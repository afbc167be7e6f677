from torch import Tensor, nn

from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import AVERAGE_POOLS


class PoolNeurons(Pass):
    """A layer of neurons behind each average pool, in the scale of the layer before it (Cao et al. 2015, Diehl et al. 2015)."""

    requires = frozenset({"modules"})

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, _ in list(net.calls(AVERAGE_POOLS)):
            activation = net.after(node, f"{node.name}_neuron", nn.ReLU())  # what a pool gives is not negative: no change
            activation.meta["pool"] = True
            touched.append(activation.name)
        return touched, None
