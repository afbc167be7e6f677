from torch import Tensor, nn

from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import ACTIVATIONS


class SpikeReadout(Pass):
    """Neurons behind the last layer, whose spikes are counted; outputs below 0 are lost (Cao et al. 2015, Diehl et al. 2015)."""

    requires = frozenset({"modules", "plain"})
    function = "changed"

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        last = next(node for node in net.nodes if node.op == "output").all_input_nodes[0]
        if isinstance(net.of(last), ACTIVATIONS):
            return [], None
        return [net.after(last, "readout", nn.ReLU()).name], None
