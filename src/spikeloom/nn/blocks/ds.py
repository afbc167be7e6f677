from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.nn.blocks.base import Residual


class DS(Residual):
    """Dormant-suppressed block: out = SN(branch(x)) + shortcut(x), the activation before the addition.

    A silent branch makes it the identity. Values add up: after m identity blocks they reach (m + 1) K.
    """

    paper = bibliography.MLF

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.branch(x)) + self.skip(x)
