"""Operations that write into their input, as ones that do not: whoever reads the input afterwards reads their result."""

from __future__ import annotations

from torch import fx, nn

from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.sites import in_place, label, operation
from spikeloom.convert.vocabulary import DROPOUTS

_VIEWS = {
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "contiguous", "detach", "alias", "to", "float", "double", "dropout",
    "getitem",
}  # fmt: skip


def undo_in_place(net: Net) -> None:
    """Rewire the readers; the graph's nodes have the shapes of their values in `meta["shape"]`."""
    order = {node: k for k, node in enumerate(net.nodes)}
    memory: dict[fx.Node, fx.Node] = {}  # the node whose value's memory a node's value may lie in
    for node in net.nodes:
        module, source = net.of(node), next(iter(node.all_input_nodes), None)
        writes = source is not None and in_place(node, module)
        shares = writes or isinstance(module, (*DROPOUTS, nn.Flatten)) or (node.op != "call_module" and operation(node, module) in _VIEWS)
        memory[node] = memory[source] if source is not None and shares else node
        if not writes or source is None:
            continue
        for other in [n for n in memory if memory[n] is memory[source] and n is not node]:
            for reader in [user for user in other.users if order[user] > order[node]]:
                if other.meta.get("shape") is not None and other.meta["shape"] == source.meta.get("shape"):
                    reader.replace_input_with(other, node)
                elif other.meta.get("shape") is not None:
                    later = f"{label(reader, net.of(reader))!r} reads later in another shape; use the form that does not work in place"
                    raise ConversionError(f"{label(node, module)!r} ({operation(node, module)}): writes into a tensor that {later}")
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
