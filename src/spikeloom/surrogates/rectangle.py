from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Param
from spikeloom.surrogates.base import Surrogate, positive


class Rectangle(Surrogate):
    """h1 of STBP: 1/a inside |z| < a/2, 0 elsewhere (strict). Area 1, peak 1/a."""

    paper = bibliography.STBP
    width = Param(1.0, low=0, low_open=True, doc="a, the full width of the window in units of the membrane")

    def derivative(self, z: Tensor) -> Tensor:
        return positive(self.width / 2 - z.abs()) / self.width

    def primitive(self, z: Tensor) -> Tensor:
        return (z / self.width + 0.5).clamp(0.0, 1.0)

    @property
    def half_support(self) -> float:
        return self.width / 2
