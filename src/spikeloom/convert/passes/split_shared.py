import copy

from torch import Tensor

from spikeloom.convert.graph import Net
from spikeloom.convert.passes.base import Pass


class SplitShared(Pass):
    """A module called twice becomes two, and so do two that share a weight: two activations are two membranes with two scales, and the
    weights around them take up different ones."""

    requires = frozenset({"modules"})
    provides = frozenset({"unshared"})

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        seen: set[int] = set()
        touched = []
        for node in net.nodes:
            module = net.of(node)
            if module is None:
                continue
            own = {id(part) for part in (module, *module.parameters(), *module.buffers())}
            if own & seen:
                node.target = net.add(str(node.target), copy.deepcopy(module))
                touched.append(node.name)
            seen |= own
        return touched, None
