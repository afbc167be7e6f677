from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeloom.convert.graph import ConversionError
from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.convert.statistics import maxima
from spikeloom.convert.upstream import drivers, firing, sources
from spikeloom.core import bibliography
from spikeloom.core.params import Choice


@dataclass(frozen=True)
class DataBased(Normaliser):
    """s_l = max(largest weight, largest activation over the calibration inputs) of each layer (Diehl et al. 2015, data-based); the
    weights are those that drive the layer directly.

    form: `"exact"` rescales by s_l: W_l s_(l-1) / s_l. `"released"` is the authors' program, which divides W_l by
    f_l = s_l / f_(l-1) where the exact rule has s_l / s_(l-1): the same for two layers, too small from the third on. It knows chains
    only; others are refused.
    """

    paper = bibliography.DIEHL
    form: str = "exact"

    def __post_init__(self) -> None:
        Choice(("exact", "released")).check("DataBased.form", self.form)

    def find(self, case: Case) -> dict[str, Tensor]:
        net = case.net
        found = maxima(case, [node for node, _ in firing(net)])
        for node, _ in firing(net):
            for _, module in drivers(net, node):
                found[node.name] = torch.maximum(found[node.name], module.weight.detach().amax())
        return found if self.form == "exact" else _released(case, found)


def _released(case: Case, exact: dict[str, Tensor]) -> dict[str, Tensor]:
    net, found = case.net, {}
    factor = scale = case.net.sample.new_ones(())
    before = next(node for node in net.nodes if node.op == "placeholder")
    for node, _ in firing(net):
        if sources(net, node) != [before]:
            advice = "the released form of DataBased knows chains only; give form='exact'"
            raise ConversionError(f"{node.name} (layer {node.target!r}): fed by {[s.name for s in sources(net, node)]}; {advice}")
        factor = torch.where(exact[node.name] > 0, exact[node.name], 1.0) / factor
        scale, before = scale * factor, node
        found[node.name] = scale
    return found
