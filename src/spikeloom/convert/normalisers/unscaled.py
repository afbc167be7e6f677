from dataclasses import dataclass

from torch import Tensor

from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.convert.upstream import firing
from spikeloom.core import bibliography


@dataclass(frozen=True)
class Unscaled(Normaliser):
    """The weights as they are: a spike stands for an activation of 1 (Cao et al. 2015)."""

    paper = bibliography.CAO

    def find(self, case: Case) -> dict[str, Tensor]:
        return {node.name: case.net.sample.new_ones(()) for node, _ in firing(case.net)}
