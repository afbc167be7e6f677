"""What a normaliser is: the rule that says how much ANN activation one spike of a layer stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from spikeloom.convert.graph import Batches, Net
from spikeloom.convert.upstream import sources
from spikeloom.convert.vocabulary import cap
from spikeloom.core.paper import Paper
from spikeloom.core.progress import Progress, silent
from spikeloom.neurons import Neuron
from spikeloom.nn.activations import QCFS
from spikeloom.nn.encoders import Encoder


@dataclass(frozen=True)
class Case:
    """What a rule may look at.

    net: the graph of the ANN in its own units, norms folded. batches: calibration inputs. steps, encoder: of the SNN to be.
    make: `(activation, threshold) -> Neuron`. progress: told of long loops.
    """

    net: Net
    batches: Batches
    steps: int
    encoder: Encoder
    make: Callable[[nn.Module, Tensor], Neuron]
    progress: Progress = silent


@dataclass(frozen=True)
class Normaliser:
    """A rule. Its fields are its options; those named `per` are `"layer"`, one scale for a layer, or `"channel"`, one for each."""

    paper: ClassVar[Paper | None] = None

    def find(self, case: Case) -> dict[str, Tensor]:
        """Scales, 0-d or `[C]`, by name of the activation's node; a rule may leave nodes out whose scale is that of another's."""
        raise NotImplementedError

    def scales(self, case: Case) -> dict[str, Tensor]:
        """`find`, with what holds for every rule: neurons behind a pool take the scale before it, a quantised activation (QCFS) keeps
        the one it was trained with, no scale passes the largest value of its activation, and a layer that never fires has scale 1."""
        found, final = self.find(case), {}
        for node, module in case.net.activations():
            if isinstance(module, QCFS):
                scale = module.scale.detach().clone()
            elif node.meta.get("pool"):
                scale = scale_before(case.net, node, final)
            else:
                scale = found[node.name].to(case.net.sample)
                scale = torch.where(scale > 0, scale, 1.0).minimum(cap(module).to(scale))
            final[node.name] = scale
        return final

    def options(self) -> dict[str, Any]:
        """Its fields by name."""
        return dataclasses.asdict(self)


def scale_before(net: Net, node: fx.Node, scales: dict[str, Tensor]) -> Tensor:
    """The scale of the layer before a pool; of several, or where the channels are others, the largest; 1 for the input."""
    before = [scales[source.name] for source in sources(net, node) if source.name in scales]
    if len(before) == 1 and before[0].numel() in (1, net.shape(node)[1]):
        return before[0].clone()
    return torch.stack([scale.amax() for scale in before]).amax() if before else net.sample.new_ones(())
