from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.nn.blocks.base import Residual


class Plain(Residual):
    """The spiking copy of ResNet's block: out = SN(branch(x) + shortcut(x)).

    Identity needs SN(S) = S, which IF gives (0 < threshold <= 1) and LIF in general does not: the degradation that SEW and DS cure.
    """

    paper = bibliography.TDBN
    added = 2
    shortcut = "analog"

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.branch(x) + self.skip(x))
