"""Accuracy after every number of steps, in one pass, and what leaving early would save."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.infer import Runner
from spikeloom.nn.snn import SNN

CONFIDENCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Accuracy:
    """by_step: share of right answers `[T]` of the mean output over the first 1 ... T steps. early: for each confidence, the accuracy and
    the mean number of steps if each input leaves at the first step where the softmax of the mean output reaches it (SEENN-I)."""

    by_step: list[float]
    early: list[dict[str, float]]

    def steps_to(self, accuracy: float) -> int | None:
        """The smallest number of steps with at least `accuracy`; None if there is none."""
        return next((k + 1 for k, value in enumerate(self.by_step) if value >= accuracy), None)


class Tally:
    """Right answers counted batch after batch: in all, and of inputs that leave early. Its tensors are all that it knows.

    right: `[T]`; early: right answers and steps taken, `[confidences, 2]`; count: of inputs.
    """

    def __init__(self, steps: int, confidences: Sequence[float] = CONFIDENCES) -> None:
        for confidence in confidences:
            if not 0 < confidence < 1:
                raise ParameterError(refusal("accuracy confidences", confidence, "between 0 and 1"))
        self.confidences, self.count = tuple(confidences), 0
        self.right = torch.zeros(steps, dtype=torch.float64)
        self.early = torch.zeros(len(confidences), 2, dtype=torch.float64)

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count a batch: its output at every step, `[T, B, classes]`, and labels `[B]`."""
        total = outputs.float().cpu().cumsum(0)
        hits = total.argmax(2) == labels.cpu()
        self.right += hits.sum(1)
        sure = (total / torch.arange(1, len(total) + 1, dtype=torch.float32).view(-1, 1, 1)).softmax(2).amax(2)
        for k, confidence in enumerate(self.confidences):
            passes = sure >= confidence
            passes[-1] = True
            when = passes.float().argmax(0)  # the first
            self.early[k, 0] += hits.gather(0, when.unsqueeze(0)).sum()
            self.early[k, 1] += (when + 1).sum()
        self.count += len(labels)

    def found(self) -> Accuracy:
        """The shares. Raises ParameterError where nothing has been counted."""
        if not self.count:
            raise ParameterError(refusal("accuracy batches", "no input", "at least one batch of (inputs, labels)"))
        rows: list[dict[str, Any]] = [
            {"confidence": c, "accuracy": hit / self.count, "mean_steps": taken / self.count}
            for c, (hit, taken) in zip(self.confidences, self.early.tolist(), strict=True)
        ]
        return Accuracy((self.right / self.count).tolist(), rows)


@torch.no_grad()
def accuracy(
    snn: SNN | Runner, batches: Iterable[tuple[Tensor, Tensor]], confidences: Sequence[float] = CONFIDENCES, tally: Tally | None = None
) -> Accuracy:
    """Accuracy of `snn` on batches of (input as `snn` takes it, labels `[B]`), after every step from 1 to T.

    tally: what was counted before, with confidences of its own; it counts these batches too.
    """
    tally = Tally(snn.steps, confidences) if tally is None else tally
    for x, labels in batches:
        tally.add(snn(x), labels)
    return tally.found()
