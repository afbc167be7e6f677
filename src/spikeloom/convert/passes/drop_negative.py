from torch import Tensor, nn

from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass


class DropNegative(Pass):
    """Leaky activations lose what is below 0, so that ordinary neurons can take their place."""

    requires = frozenset({"modules", "unshared"})
    function = "changed"

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched = []
        for node, _ in list(net.calls((nn.LeakyReLU,))):
            net.replace(node, nn.ReLU())
            touched.append(node.name)
        return touched, None
