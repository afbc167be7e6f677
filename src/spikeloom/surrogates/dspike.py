import math

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Param
from spikeloom.surrogates.base import Surrogate, positive


class Dspike(Surrogate):
    """Dspike'(x) = b sech^2(b (x - 1/2)) / (2 tanh(b/2)) on 0 < x < 1, with x = z + 1/2. Area 1.

    b -> 0 is the rectangle of width 1, b -> infinity the step itself.
    """

    paper = bibliography.DSPIKE
    temperature = Param(3.0, low=0, low_open=True, high=40, doc="b; 3 is the value of the code derived from the paper")

    def derivative(self, z: Tensor) -> Tensor:
        b = self.temperature
        t = torch.tanh(z * b)
        return positive(0.5 - z.abs()) * (1 - t * t) * (b / (2 * math.tanh(b / 2)))

    def primitive(self, z: Tensor) -> Tensor:
        b = self.temperature
        return torch.tanh(z.clamp(-0.5, 0.5) * b) / (2 * math.tanh(b / 2)) + 0.5

    @property
    def half_support(self) -> float:
        return 0.5
