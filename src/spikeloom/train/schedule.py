"""Optimiser and learning-rate schedule of a Training."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from spikeloom.core.params import Choice
from spikeloom.train.run import Training


def optimiser(training: Training, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam."""
    kind = Choice(("sgd", "adam")).check("training.optimiser", training.optimiser)
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay)
    return torch.optim.Adam(parameters, lr=training.lr, weight_decay=training.weight_decay)


def factor(training: Training, step: int, steps_per_epoch: int) -> float:
    """Learning rate at optimiser step `step` (from 0) as a multiple of `training.lr`."""
    kind = Choice(("step", "cosine", "constant")).check("training.schedule", training.schedule)
    epoch = step / steps_per_epoch
    if epoch < training.warmup:
        return (step + 1) / (training.warmup * steps_per_epoch + 1)
    if kind == "step":
        return training.step_factor ** (int(epoch) // training.step_every)
    if kind == "cosine":
        done = (epoch - training.warmup) / max(training.epochs - training.warmup, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return 1.0
