"""Which activations and weights feed a node: walks against the direction of computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from spikeloom.convert.graph import Net
from spikeloom.convert.vocabulary import ACTIVATIONS, WEIGHTED


def nearest(net: Net, node: fx.Node, stop: Callable[[fx.Node], bool]) -> list[fx.Node]:
    """The first nodes before `node` on every path back for which `stop` holds, in the order of computation."""
    found, seen, todo = set(), set(), list(node.all_input_nodes)
    while todo:
        other = todo.pop()
        if other in seen:
            continue
        seen.add(other)
        if stop(other):
            found.add(other)
        else:
            todo.extend(other.all_input_nodes)
    return [other for other in net.nodes if other in found]


def fires(net: Net, node: fx.Node) -> bool:
    """Whether the node is an activation with a scale of its own; neurons behind pools have that of the layer before."""
    return isinstance(net.of(node), ACTIVATIONS) and not node.meta.get("pool")


def firing(net: Net) -> list[tuple[fx.Node, Any]]:
    """The activations with a scale of their own."""
    return [(node, module) for node, module in net.activations() if not node.meta.get("pool")]


def sources(net: Net, node: fx.Node) -> list[fx.Node]:
    """The activations, and the input, that feed `node` through anything that does not fire."""
    return nearest(net, node, lambda other: fires(net, other) or other.op == "placeholder")


def drivers(net: Net, node: fx.Node) -> list[tuple[fx.Node, Any]]:
    """The weighted layers that drive `node` directly: no activation and no other weight lies between."""
    ends = nearest(net, node, lambda other: fires(net, other) or isinstance(net.of(other), WEIGHTED))
    return [(end, module) for end in ends if isinstance(module := net.of(end), WEIGHTED)]
