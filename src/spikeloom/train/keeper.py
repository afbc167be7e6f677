"""Keeps a run's folder true while it trains: the best weights so far and the record of the epochs done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeloom.core.errors import RecordError
from spikeloom.io import weights
from spikeloom.train import record

if TYPE_CHECKING:
    from spikeloom.train.learner import Learner

WEIGHTS = "weights.safetensors"


class Keeper:
    """Called with the learner after each epoch: saves the weights of the epoch that validates best, and `record.json`."""

    def __init__(self, out: Path, head: dict[str, Any]) -> None:
        self.out, self.head = out, head

    def __call__(self, learner: Learner) -> None:
        history = learner.history
        if picked_epoch(history) == len(history) - 1:
            weights.save(learner.snn.net, self.out / WEIGHTS)
        record.write(self.record(history), self.out / "record.json")
        if not sys.stderr.isatty():
            row = history[-1]
            scores = ", ".join(f"{split} {row[f'{split}_accuracy']:.4f}" for split in ("train", "val", "test"))
            count = f"epoch {row['epoch'] + 1}/{learner.run.training.epochs}"
            print(f"{count}: loss {row['train_loss']:.4f}, {scores}, {row['seconds']:.0f} s", flush=True)

    def record(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """The record of the epochs done; test-set accuracies of the last epoch, the best one and the one picked on validation."""
        if not history:
            raise RecordError(f"{self.out}: no epoch finished; nothing to record")
        test, picked = [row["test_accuracy"] for row in history], picked_epoch(history)
        accuracy = {"last": test[-1], "best": max(test), "validated": test[picked], "test": None}
        seconds = sum(row["seconds"] for row in history)
        return {**self.head, "accuracy": accuracy, "picked_epoch": picked, "epochs": history, "seconds": seconds}


def picked_epoch(history: list[dict[str, Any]]) -> int:
    """Index of the epoch with the best validation accuracy (the first of equals)."""
    return max(range(len(history)), key=lambda i: history[i]["val_accuracy"])
