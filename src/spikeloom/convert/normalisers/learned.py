from dataclasses import dataclass

from torch import Tensor

from spikeloom.convert.graph import ConversionError
from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.convert.upstream import firing
from spikeloom.convert.vocabulary import cap
from spikeloom.core import bibliography


@dataclass(frozen=True)
class Learned(Normaliser):
    """The largest value that an activation was trained with: the scale of a QCFS (Bu et al. 2022), the cap of a ReLU6 or a clamp.

    Refuses activations without one.
    """

    paper = bibliography.QCFS

    def find(self, case: Case) -> dict[str, Tensor]:
        found = {}
        for node, module in firing(case.net):
            found[node.name] = cap(module)
            if not bool(found[node.name].isfinite().all()):
                given = f"{node.name} (layer {node.target!r}, {type(module).__name__})"
                raise ConversionError(f"{given}: trained without a scale; train with QCFS in its place, or take Percentile")
        return found
