from torch import Tensor, nn

from spikeloom.convert.graph import ADD, CAT, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.upstream import nearest
from spikeloom.convert.vocabulary import ACTIVATIONS, AVERAGE_POOLS, HOMOGENEOUS, slope


class PoolNeurons(Pass):
    """A layer of neurons behind each average pool of neurons, in their scale (Cao et al. 2015, Diehl et al. 2015)."""

    requires = frozenset({"modules"})

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, _ in list(net.calls(AVERAGE_POOLS)):
            feeding = nearest(net, node, lambda other: not isinstance(net.of(other), HOMOGENEOUS) and other.target not in (ADD, CAT))
            if not all(isinstance(net.of(other), ACTIVATIONS) and not slope(net.of(other)) for other in feeding):
                continue  # what may be negative no neuron can hand on
            activation = net.after(node, f"{node.name}_neuron", nn.ReLU())  # what a pool gives is not negative: no change
            activation.meta["pool"] = True
            touched.append(activation.name)
        return touched, None
