"""Scales travel through the graph until a weight takes them up.

The division before an activation travels back, the product after it travels on. Averages, maxima and paddings let a positive scale
pass; sums pass a division to all they add, concatenations give each input its part; a weight multiplies it into itself. Two that meet
become one: on a shortcut from an activation of scale a to one of scale b, the factor a / b. What nothing takes up stays where it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.convert.affine import Affine
from spikeloom.convert.graph import ADD, CAT, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import HOMOGENEOUS, WEIGHTED, scale_inputs, scale_outputs


class AbsorbScales(Pass):
    """The Affines of the scales go into the weights around them; sums and concatenations reconcile the scales of their branches."""

    requires = frozenset({"scaled"})
    provides = frozenset({"absorbed"})

    def apply(self, net: Net) -> tuple[list[str], dict[str, Tensor] | None]:
        touched: list[str] = []
        net.measure()
        moved = True
        while moved:
            moved = False
            for node in net.nodes:
                step = {"back": _back, "on": _on}.get(node.meta.get("moves", ""))
                if step is not None and step(net, node, touched):
                    moved = True
                    break
        return sorted(set(touched)), None


def _scale(net: Net, node: fx.Node) -> Tensor:
    return net.of(node).scale  # type: ignore[union-attr,return-value]


def _put(net: Net, reader: fx.Node, source: fx.Node, scale: Tensor, moves: str, name: str) -> None:
    if not bool((scale == 1).all()):
        net.before(reader, source, name, Affine(scale.clone())).meta["moves"] = moves


def _back(net: Net, node: fx.Node, touched: list[str]) -> bool:
    """One step of a division towards the input; False where it cannot go on."""
    source, scale = node.args[0], _scale(net, node)
    assert isinstance(source, fx.Node)
    if len(source.users) > 1:
        return False
    module = net.of(source)
    if isinstance(module, WEIGHTED) or (isinstance(module, Affine) and "moves" not in source.meta):
        scale_outputs(module, scale)
        touched.append(source.name)
    elif isinstance(module, Affine):
        return _meet(net, source, node, touched)
    elif isinstance(module, HOMOGENEOUS):
        _put(net, source, source.args[0], scale, "back", node.name)  # type: ignore[arg-type]
    elif source.target is ADD:
        for branch in dict.fromkeys(source.all_input_nodes):  # x + x has one
            _put(net, source, branch, scale, "back", node.name)
    elif source.target is CAT and len(source.all_input_nodes) == len(source.args[0]):  # type: ignore[arg-type]
        branches = source.args[0]
        parts = _parts(net, branches, scale)
        for branch, part in zip(branches, parts, strict=True):  # type: ignore[arg-type]
            _put(net, source, branch, part, "back", node.name)  # type: ignore[arg-type]
    else:
        return False
    net.remove(node)
    return True


def _on(net: Net, node: fx.Node, touched: list[str]) -> bool:
    """One step of a product towards the output; False where it cannot go on."""
    readers, scale, source = list(node.users), _scale(net, node), node.args[0]
    assert isinstance(source, fx.Node)
    if len(readers) > 1:
        for reader in readers:
            reader.replace_input_with(node, source)
            _put(net, reader, source, scale, "on", node.name)
        net.remove(node)
        return True
    reader = readers[0]
    module = net.of(reader)
    if isinstance(module, WEIGHTED) or (isinstance(module, Affine) and "moves" not in reader.meta):
        scale_inputs(module, scale)
        touched.append(reader.name)
    elif isinstance(module, Affine):
        return _meet(net, node, reader, touched)
    elif isinstance(module, HOMOGENEOUS):
        _after(net, reader, scale, node)
    elif isinstance(module, torch.nn.Flatten):
        features = net.shape(reader)[1] // net.shape(source)[1]
        _after(net, reader, scale.repeat_interleave(features) if scale.dim() else scale, node)
    elif reader.target is CAT:
        branches: Any = reader.args[0]
        parts = [scale if branch is node else scale.new_ones(()) for branch in branches]
        widths = [net.shape(branch)[1] for branch in branches]
        _after(net, reader, torch.cat([part.expand(width) for part, width in zip(parts, widths, strict=True)]), node)
    elif reader.target is ADD and _same_everywhere(net, reader, scale):
        for branch in list(reader.all_input_nodes):
            if branch is not node:
                net.remove(branch)
        _after(net, reader, scale, node)
    else:
        return False
    net.remove(node)
    return True


def _after(net: Net, reader: fx.Node, scale: Tensor, node: fx.Node) -> None:
    net.after(reader, node.name, Affine(scale.clone())).meta["moves"] = "on"


def _same_everywhere(net: Net, total: fx.Node, scale: Tensor) -> bool:
    """All that a sum adds are products with the same scale that nothing else reads."""
    for branch in total.all_input_nodes:
        if branch.meta.get("moves") != "on" or len(branch.users) > 1 or not torch.equal(_scale(net, branch), scale):
            return False
    return True


def _meet(net: Net, first: fx.Node, second: fx.Node, touched: list[str]) -> bool:
    """A product followed by another scale becomes one; it goes on only if both were going on."""
    scale = _scale(net, first) * _scale(net, second)
    both = first.meta["moves"] == second.meta["moves"]
    net.replace(second, Affine(scale))
    second.meta["moves"] = second.meta["moves"] if both else "met"
    net.remove(first)
    if not both and bool((scale == 1).all()):
        net.remove(second)
    else:
        touched.append(second.name)
    return True


def _parts(net: Net, branches: Any, scale: Tensor) -> list[Tensor]:
    widths = [net.shape(branch)[1] for branch in branches]
    return [scale] * len(widths) if not scale.dim() else list(scale.split(widths))
