import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Param
from spikeloom.surrogates.base import Surrogate


class Sigmoid(Surrogate):
    """h3 of STBP: the logistic density (1/a) e^(-z/a) / (1 + e^(-z/a))^2. Area 1, peak 1/(4a)."""

    paper = bibliography.STBP
    a = Param(1.0, low=0, low_open=True, doc="temperature: the larger, the flatter")

    def derivative(self, z: Tensor) -> Tensor:
        s = torch.sigmoid(z / self.a)
        return s * (1 - s) / self.a

    def primitive(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z / self.a)
