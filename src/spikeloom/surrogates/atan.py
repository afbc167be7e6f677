import math

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Param
from spikeloom.surrogates.base import Surrogate


class ATan(Surrogate):
    """(alpha/2) / (1 + (pi alpha z / 2)^2). Area 1, peak alpha/2; at alpha = 2 it is 1 / (1 + (pi z)^2)."""

    paper = bibliography.PLIF
    alpha = Param(2.0, low=0, low_open=True, doc="sharpness")

    def derivative(self, z: Tensor) -> Tensor:
        y = z * (math.pi / 2 * self.alpha)
        return (self.alpha / 2) / (1 + y * y)

    def primitive(self, z: Tensor) -> Tensor:
        return torch.atan(z * (math.pi / 2 * self.alpha)) / math.pi + 0.5
