from collections.abc import Mapping

import torch
from torch import Tensor

from spikeloom.convert.affine import Affine
from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.passes.base import Pass
from spikeloom.convert.vocabulary import in_units


class PlaceScales(Pass):
    """Each activation f works in units of its scale: f(x) = scale * f'(x / scale), the division and the product as Affines.

    scales: positive, a number or `[C]`, by name of the activation's node.
    """

    requires = frozenset({"modules", "unshared", "plain", "folded"})
    provides = frozenset({"scaled"})

    def __init__(self, scales: Mapping[str, Tensor]) -> None:
        self.scales = scales

    def apply(self, net: Net) -> tuple[list[str], Mapping[str, Tensor] | None]:
        for node, module in net.activations():
            scale = self.scales[node.name].to(net.sample)
            if not bool((scale > 0).all() & scale.isfinite().all()):
                raise ConversionError(f"{node.name} (layer {node.target!r}): scale {scale.tolist()}; must be positive and finite")
            if module is not (inner := in_units(module, scale)):
                net.replace(node, inner)
            source = node.args[0]
            net.before(node, source, f"{node.name}_in", Affine(1 / scale)).meta["moves"] = "back"
            net.after(node, f"{node.name}_out", Affine(torch.clone(scale))).meta["moves"] = "on"
            net.scales[node.name] = scale
        return [node.name for node, _ in net.activations()], self.scales
