import math

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Param
from spikeloom.surrogates.base import Surrogate


class Gaussian(Surrogate):
    """h4 of STBP: the normal density exp(-z^2/(2a)) / sqrt(2 pi a). Area 1, peak 1/sqrt(2 pi a)."""

    paper = bibliography.STBP
    a = Param(1.0, low=0, low_open=True, doc="variance")

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(z * z * (-0.5 / self.a)) * (1 / math.sqrt(2 * math.pi * self.a))

    def primitive(self, z: Tensor) -> Tensor:
        return 0.5 + 0.5 * torch.erf(z * (1 / math.sqrt(2 * self.a)))
