from torch import Tensor, relu

from spikeloom.core import bibliography
from spikeloom.core.params import Param
from spikeloom.surrogates.base import Surrogate


class Triangle(Surrogate):
    """h2 of STBP ("polynomial"): max(0, sqrt(a)/2 - (a/4)|z|), support |z| < 2/sqrt(a). Area 1, peak sqrt(a)/2.

    TET's max(0, gamma - |z|)/gamma^2 is this with a = 4/gamma^2.
    """

    paper = bibliography.STBP
    a = Param(1.0, low=0, low_open=True, doc="sharpness; the window's half width is 2/sqrt(a)")

    def derivative(self, z: Tensor) -> Tensor:
        return relu(self.half_support - z.abs()) * (self.a / 4)

    def primitive(self, z: Tensor) -> Tensor:
        c = z.clamp(-self.half_support, self.half_support)
        return 0.5 + self.a**0.5 / 2 * c - self.a / 8 * c * c.abs()

    @property
    def half_support(self) -> float:
        return 2 / self.a**0.5
