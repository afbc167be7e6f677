"""SpikeProp classifies: the neuron of the right class learns to fire early, the others late."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.core.errors import RecipeError, refusal
from spikeloom.core.params import Choice
from spikeloom.experiments._figures import lines, listed, raster, table
from spikeloom.experiments._spikeprop import LAYERS, Advance, SpikeProp
from spikeloom.measure.energy import energy_of
from spikeloom.timing.receptive_fields import population_times

SCHEDULE = Choice(("constant", "cosine"), "cosine: the rate falls to 0 over the epochs")
SETS = {"iris": "load_iris", "breast-cancer": "load_breast_cancer"}


@dataclass(frozen=True, kw_only=True)
class SpikePropClassifier(SpikeProp):
    """A table of scikit-learn by stratified cross-validation, one part for each fold; the class whose neuron fires first wins.

    The whole cross-validation is repeated with other splits: a single one of Iris has a standard error above one per cent.

    Features enter as populations of `fields` Gaussian receptive fields over the range of the training folds, less a share `tails` of
    values at each end, which count as the end; a bias neuron spikes at 0. While learning, values carry Gaussian noise of `noise`
    times their range, so that narrow fields do not learn single samples.
    The number of epochs is fixed beforehand, and the last weights are the ones that are tested. A sample for which no output
    fires counts as wrong.
    """

    folds: int = 10
    repeats: int = 1
    fields: int = 8
    beta: float = 1.5
    tails: float = 0.0
    noise: float = 0.0
    batch: int = 16
    schedule: str = "cosine"
    drive: float = 8.0
    shown: int = 3

    def parts(self) -> list[str]:
        return [f"fold-{k}" for k in range(self.repeats * self.folds)]

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Advance) -> dict[str, Any]:
        from sklearn.model_selection import StratifiedKFold

        fold = int(part.removeprefix("fold-"))
        x, y, names = load(self.recipe, self.data)
        split = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed + fold // self.folds)
        train, test = (torch.as_tensor(rows) for rows in list(split.split(x, y))[fold % self.folds])
        low, high = x[train].quantile(self.tails, dim=0), x[train].quantile(1 - self.tails, dim=0)
        x = (x - low) / (high - low)
        code = self.code(x[test])
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.seed * 1000 + fold)
            sizes = (code.shape[1], self.hidden, len(names))
            net = nn.Sequential(*(self.layer(*pair, self.drive) for pair in pairwise(sizes))).double()
            curve = self._train(net, x, y, train, test, len(names), advance)
        with torch.no_grad():
            layers = [code, middle := net[0](code), net[1](middle)]
        spikes = [values.isfinite().double() for values in layers[:2]]
        operations = sum(layer.reached(fired).sum().item() for layer, fired in zip(net, spikes, strict=True))
        return {
            "accuracy": accuracy(layers[2], y[test]), "curve": curve, "labels": y[test].tolist(),
            "predictions": winners(layers[2]).tolist(), "classes": names, "layers": [listed(values[: self.shown]) for values in layers],
            "times": self.counted(layers), "operations": operations, "params": sum(p.numel() for p in net.parameters()),
        }  # fmt: skip

    def code(self, x: Tensor) -> Tensor:
        """Spike times `[B, F * fields + 1]` of values `[B, F]` on the scale of the training range; the last is the bias, at 0."""
        return nn.functional.pad(population_times(x.clamp(0, 1), 0.0, 1.0, self.fields, self.beta), (0, 1))

    def _train(
        self, net: nn.Sequential, x: Tensor, y: Tensor, train: Tensor, test: Tensor, classes: int, advance: Advance
    ) -> list[list[float]]:
        """`[loss per sample, training accuracy, test accuracy]` of every epoch; the first two are running."""
        optimiser, curve = self.descent(net), []
        falls = SCHEDULE.check(f"{self.recipe}.schedule", self.schedule) == "cosine"
        decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda e: (1 + math.cos(math.pi * e / self.epochs)) / 2 if falls else 1.0)
        targets = torch.where(nn.functional.one_hot(y, classes) > 0, self.early, self.late).double()
        for epoch in range(self.epochs):
            total, right = 0.0, 0.0
            for rows in train[torch.randperm(len(train))].split(self.batch):
                times = net(self.code(x[rows] + self.noise * torch.randn_like(x[rows])))
                loss = self.loss(times, targets[rows])
                optimiser.zero_grad()
                (loss / len(rows)).backward()
                optimiser.step()
                total, right = total + loss.item(), right + accuracy(times, y[rows]) * len(rows)
            decay.step()
            with torch.no_grad():
                curve.append([total / len(train), right / len(train), accuracy(net(self.code(x[test])), y[test])])
            advance((epoch + 1) / self.epochs)
        return curve

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        found, (start, first) = list(results.values()), next(iter(results.items()))
        scores = torch.tensor([f["accuracy"] for f in found], dtype=torch.float64)
        pairs = [pair for f in found for pair in zip(f["labels"], f["predictions"], strict=True)]
        names, samples = first["classes"], [dict(zip(LAYERS, row, strict=True)) for row in zip(*first["layers"], strict=True)]
        counts = [[name, *(pairs.count((i, j)) for j in range(len(names))), pairs.count((i, -1))] for i, name in enumerate(names)]
        errors, *accuracies = torch.tensor([f["curve"] for f in found], dtype=torch.float64).mean(0).T.tolist()
        epochs, synops = range(1, len(errors) + 1), sum(f["operations"] for f in found) / len(pairs)
        curves = [(name, epochs, values) for name, values in zip(("training", "test"), accuracies, strict=True)]
        seen = f"Mean of {len(found)} folds; no epoch is chosen by it."
        return {
            "accuracy": {"test": scores.mean().item()}, "params": first["params"], "synops_per_image": synops,
            "energy_uJ": energy_of(synops, 0),
            "results": {
                "mean_accuracy": scores.mean().item(), "spread": scores.std(correction=0).item(), "worst_fold": scores.min().item(),
                "best_fold": scores.max().item(), "right": sum(a == b for a, b in pairs), "samples": len(pairs),
            },
            "figures": [
                lines("Accuracy while learning", seen, ("epoch", "accuracy"), curves),
                lines("Error while learning", seen, ("epoch", "1/2 sum (t - target)², ms²"), [("training", epochs, errors)], y_scale="log"),
                table("Confusion", "Rows: the class; columns: the answer. All test folds together.", ("", *names, "no spike"), counts),
                self.histogram("All test samples.", found),
                *(raster(f"Test sample {k + 1} of {start}", f"Its class: {names[first['labels'][k]]}.", s) for k, s in enumerate(samples)),
            ],
        }  # fmt: skip


def load(recipe: str, name: str) -> tuple[Tensor, Tensor, list[str]]:
    """Features `[N, F]`, labels `[N]` and class names of a table of scikit-learn. Raises RecipeError for another name."""
    from sklearn import datasets

    if name not in SETS:
        raise RecipeError(refusal(f"{recipe}.data", name, "one of " + ", ".join(SETS)))
    found = getattr(datasets, SETS[name])()
    return torch.from_numpy(found.data), torch.from_numpy(found.target).long(), [str(word) for word in found.target_names]


def winners(times: Tensor) -> Tensor:
    """The neuron that fires first, `[B]`; -1 where none fires."""
    return torch.where(times.isfinite().any(1), times.argmin(1), -1)


def accuracy(times: Tensor, labels: Tensor) -> float:
    """Share of samples whose first spike is the label's."""
    return (winners(times) == labels).double().mean().item()
