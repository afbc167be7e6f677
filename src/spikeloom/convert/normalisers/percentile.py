from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.convert.statistics import maxima, quantile
from spikeloom.convert.upstream import firing
from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, refusal


@dataclass(frozen=True)
class Percentile(Normaliser):
    """A high percentile of a layer's activations that are not 0 (Rueckauer et al. 2017): robust where a maximum is an outlier.

    percentile: in (0, 100]; 100 is the maximum. decrease: taken off for each layer before this one, so that later layers fire more; the
    authors' program has 0.02 (and cuts the result to a whole number, which this does not).
    """

    paper = bibliography.RUECKAUER
    percentile: float = 99.9
    decrease: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ParameterError(refusal("Percentile.percentile", self.percentile, "in (0, 100]"))
        if not 0 <= self.decrease < self.percentile:
            raise ParameterError(refusal("Percentile.decrease", self.decrease, "at least 0 and below the percentile"))

    def find(self, case: Case) -> dict[str, Tensor]:
        nodes = [node for node, _ in firing(case.net)]
        if self.percentile == 100 and not self.decrease:
            return maxima(case, nodes)
        first, less = Fraction(str(self.percentile)) / 100, Fraction(str(self.decrease)) / 100
        fractions = {node.name: first - less * k for k, node in enumerate(nodes)}
        if nodes and fractions[nodes[-1].name] <= 0:
            raise ParameterError(refusal("Percentile.decrease", self.decrease, f"small enough for {len(nodes)} layers"))
        return quantile(case, nodes, fractions)
