from typing import Any

from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice
from spikeloom.nn.blocks.base import Residual


class SEW(Residual):
    """Spike-element-wise block: out = g(A, S) with A = SN(branch(x)) and S = shortcut(x).

    connect: `"add"` A + S, `"and"` A S, `"iand"` (1 - A) S. It is the identity when A is 0 (add, iand) or 1 (and).
    """

    paper = bibliography.SEW

    def __init__(self, *args: Any, connect: str = "add", **options: Any) -> None:
        super().__init__(*args, **options)
        self.connect = Choice(("add", "and", "iand")).check("SEW.connect", connect)

    def forward(self, x: Tensor) -> Tensor:
        a, s = self.neuron(self.branch(x)), self.skip(x)
        if self.connect == "add":
            return a + s
        return a * s if self.connect == "and" else (1 - a) * s
