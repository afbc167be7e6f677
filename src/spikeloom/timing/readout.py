"""What turns the spike times of output neurons into scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeloom.core import bibliography
from spikeloom.core.params import Param

AFTER = Param(1.0, low=0, low_open=True, doc="how much later than the last spike a silent neuron counts")


class FirstSpikeReadout(nn.Module):
    """Scores -t of output times t `[B, classes]`, so that cross-entropy is the loss -ln softmax(-t) of Zhang et al. 2021.

    The neuron that fires first has the highest score. A silent one counts as firing `after` the last one of its image (or at `after`
    where no neuron fires), a constant through which no gradient flows.
    """

    paper = bibliography.RELPSP

    def __init__(self, after: float = 1.0) -> None:
        super().__init__()
        self.after = float(AFTER.check("FirstSpikeReadout.after", after))

    def forward(self, t: Tensor) -> Tensor:
        fired = t.isfinite()
        last = torch.where(fired, t.detach(), -torch.inf).amax(1, keepdim=True)
        return -torch.where(fired, t, torch.where(last.isfinite(), last, 0.0) + self.after)
