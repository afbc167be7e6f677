"""What the SpikeProp experiments share: layers of spike response neurons that learn target times by gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.core.params import Choice
from spikeloom.experiments._figures import counted, times_histogram
from spikeloom.timing.srm import SRMLinear
from spikeloom.train.experiment import Experiment

OPTIMISER = Choice(("sgd", "adam", "rprop"), "sgd is the paper's gradient descent")
OPTIMISERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rprop": torch.optim.Rprop}
ERROR = Choice(("squared", "margin"), "margin: a neuron told to fire early may be earlier, one told to fire late may be later")
Advance = Callable[[float], None]
LAYERS = ("inputs", "hidden", "outputs")


@dataclass(frozen=True, kw_only=True)
class SpikeProp(Experiment):
    """What the two experiments share. Times in ms; `patience`: an output spike counts as at most so much after `late`."""

    hidden: int = 5
    delays: tuple[float, ...] = tuple(float(d) for d in range(1, 17))
    tau: float = 7.0
    threshold: float = 1.0
    slope: str = "clamp"
    floor: float = 0.1
    silent: str = "push"
    early: float = 10.0
    late: float = 16.0
    patience: float = 10.0
    error: str = "squared"
    epochs: int = 250
    lr: float = 0.01
    optimiser: str = "sgd"

    def layer(self, inputs: int, outputs: int, drive: float = 3.6) -> SRMLinear:
        options = {"tau": self.tau, "threshold": self.threshold, "slope": self.slope, "floor": self.floor, "silent": self.silent}
        return SRMLinear(inputs, outputs, self.delays, drive=drive, **options)

    def descent(self, net: nn.Module) -> torch.optim.Optimizer:
        return OPTIMISERS[OPTIMISER.check(f"{self.recipe}.optimiser", self.optimiser)](net.parameters(), lr=self.lr)

    def counted(self, layers: Iterable[Tensor]) -> list[dict[str, Any]]:
        """When the neurons of each layer fire, for `histogram`."""
        return [counted(times, self.late + self.patience) for times in layers]

    def histogram(self, caption: str, results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The figure of what `counted` found in every part, under `times`."""
        found = zip(*(result["times"] for result in results), strict=True)
        return times_histogram(caption, dict(zip(LAYERS, found, strict=True)))

    def loss(self, times: Tensor, targets: Tensor) -> Tensor:
        """1/2 sum of squared differences; a neuron that never fires counts as late by `patience`, and learns by the layer's push."""
        wrong = times.clamp(max=self.late + self.patience) - targets
        if ERROR.check(f"{self.recipe}.error", self.error) == "margin":
            wrong = torch.where(targets == self.late, wrong.clamp(max=0), wrong.clamp(min=0))
        return wrong.square().sum() / 2
