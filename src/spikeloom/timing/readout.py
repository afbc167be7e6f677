"""What turns the spike times of output neurons into scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeloom.core import bibliography
from spikeloom.core.params import Param

UNIT = Param(1.0, low=0, low_open=True, doc="the unit of time of the loss")
AFTER = Param(1.0, low=0, low_open=True, doc="how much later than the last spike a silent neuron counts")


class FirstSpikeReadout(nn.Module):
    """Scores -t / unit of output times t `[B, classes]`, so that cross-entropy is the loss -ln softmax(-t) of Zhang et al. 2021.

    The neuron that fires first has the highest score. A silent one counts as firing `after` the last one of its image (or at `after`
    where no neuron fires), a constant through which no gradient flows. unit: of the time that the loss sees; with the inputs' window as
    long as 1, the smaller it is, the more a lead counts.
    """

    paper = bibliography.RELPSP

    def __init__(self, unit: float = 1.0, after: float = 1.0) -> None:
        super().__init__()
        self.unit = float(UNIT.check("FirstSpikeReadout.unit", unit))
        self.after = float(AFTER.check("FirstSpikeReadout.after", after))

    def forward(self, t: Tensor) -> Tensor:
        fired = t.isfinite()
        last = torch.where(fired, t.detach(), -torch.inf).amax(1, keepdim=True)
        return torch.where(fired, t, torch.where(last.isfinite(), last, 0.0) + self.after) / -self.unit

    def extra_repr(self) -> str:
        return f"unit={self.unit:g}, after={self.after:g}"
