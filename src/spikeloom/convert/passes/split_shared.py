import copy

from torch import Tensor

from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass


class SplitShared(Pass):
    """A module called twice becomes two: two activations are two membranes with two scales, and so are the weights around them."""

    requires = frozenset({"modules"})
    provides = frozenset({"unshared"})

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        seen, touched = set(), []
        for node in net.nodes:
            module = net.of(node)
            if module is None:
                continue
            if id(module) in seen:
                node.target = net.add(str(node.target), copy.deepcopy(module))
                touched.append(node.name)
            seen.add(id(net.of(node)))
        return touched, None
