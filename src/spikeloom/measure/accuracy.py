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


@torch.no_grad()
def accuracy(snn: SNN | Runner, batches: Iterable[tuple[Tensor, Tensor]], confidences: Sequence[float] = CONFIDENCES) -> Accuracy:
    """Accuracy of `snn` on batches of (input as `snn` takes it, labels `[B]`), after every step from 1 to T."""
    for confidence in confidences:
        if not 0 < confidence < 1:
            raise ParameterError(refusal("accuracy confidences", confidence, "between 0 and 1"))
    right = torch.zeros(snn.steps, dtype=torch.float64)
    early = torch.zeros(len(confidences), 2, dtype=torch.float64)
    count, steps = 0, torch.arange(1, snn.steps + 1, dtype=torch.float32)
    for x, labels in batches:
        total = snn(x).float().cpu().cumsum(0)  # [T, B, classes]
        hits = total.argmax(2) == labels.cpu()
        right += hits.sum(1)
        sure = (total / steps.view(-1, 1, 1)).softmax(2).amax(2)
        for k, confidence in enumerate(confidences):
            passes = sure >= confidence
            passes[-1] = True
            when = passes.float().argmax(0)  # the first
            early[k, 0] += hits.gather(0, when.unsqueeze(0)).sum()
            early[k, 1] += (when + 1).sum()
        count += len(labels)
    if not count:
        raise ParameterError(refusal("accuracy batches", "no input", "at least one batch of (inputs, labels)"))
    rows: list[dict[str, Any]] = [
        {"confidence": c, "accuracy": hit / count, "mean_steps": taken / count}
        for c, (hit, taken) in zip(confidences, early.tolist(), strict=True)
    ]
    return Accuracy((right / count).tolist(), rows)
