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
class ChannelWise(Normaliser):
    """The largest activation of each channel (Spiking-YOLO, Kim et al. 2020): W_ij lambda_j / lambda_i, b_i / lambda_i, so that channels
    of small activations fire as often as others.

    percentile: in (0, 100]; the paper takes the maximum, 100, and mentions 99.9; below 100, of the activations that are not 0.
    """

    paper = bibliography.SPIKING_YOLO
    percentile: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ParameterError(refusal("ChannelWise.percentile", self.percentile, "in (0, 100]"))

    def find(self, case: Case) -> dict[str, Tensor]:
        nodes = [node for node, _ in firing(case.net)]
        if self.percentile == 100:
            return maxima(case, nodes, "channel")
        return quantile(case, nodes, Fraction(str(self.percentile)) / 100, "channel")
