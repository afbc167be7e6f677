from dataclasses import dataclass

import torch
from torch import Tensor, fx

from spikeloom.convert.normalisers.base import Case, Normaliser


@dataclass(frozen=True)
class Data(Normaliser):
    """The largest activation of a layer over the calibration inputs (Diehl et al. 2015, data-based)."""

    def find(self, case: Case) -> dict[str, Tensor]:
        nodes = {node.name for node, _ in case.net.activations()}
        found = dict.fromkeys(nodes, torch.tensor(0.0))

        def look(node: fx.Node, value: Tensor) -> None:
            if node.name in nodes:
                found[node.name] = torch.maximum(found[node.name], value.abs().amax())

        for x in case.batches:
            case.net.watch(look, x)
        return found
