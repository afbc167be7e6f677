import torch
from torch import Tensor, fx

from spikeloom.convert.graph import Net
from spikeloom.convert.in_place import undo_in_place
from spikeloom.convert.naming import Naming, values
from spikeloom.convert.passes.base import Pass


class NameModules(Pass):
    """Functions become modules of the vocabulary, sums and concatenations stay, all else is refused by its name and place."""

    provides = frozenset({"modules"})

    @torch.no_grad()
    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        known = values(net)
        undo_in_place(net)
        for node in reversed(net.nodes):
            if not node.users and node.op not in ("output", "placeholder"):
                net.module.graph.erase_node(node)
        naming = Naming(net, known)
        for node in net.nodes:
            naming.take(node)
        net.module = fx.GraphModule(naming.modules, naming.graph, type(net.module).__name__)
        net.module.eval()
        net.measure()
        return naming.made, None
