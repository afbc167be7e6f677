"""SpikeProp: networks of spike response neurons learn target spike times by gradient descent on 1/2 sum (t - t_target)^2."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.core.errors import RecipeError, refusal
from spikeloom.core.params import Choice
from spikeloom.measure.energy import energy_of
from spikeloom.timing.receptive_fields import population_times
from spikeloom.timing.srm import SRMLinear
from spikeloom.train.experiment import Experiment

OPTIMISER = Choice(("sgd", "adam", "rprop"), "sgd is the paper's gradient descent")
OPTIMISERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rprop": torch.optim.Rprop}
SETS = {"iris": "load_iris", "breast-cancer": "load_breast_cancer"}
Advance = Callable[[float], None]


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
    epochs: int = 250
    lr: float = 0.01
    optimiser: str = "sgd"

    def layer(self, inputs: int, outputs: int, drive: float = 3.6) -> SRMLinear:
        options = {"tau": self.tau, "threshold": self.threshold, "slope": self.slope, "floor": self.floor, "silent": self.silent}
        return SRMLinear(inputs, outputs, self.delays, drive=drive, **options)

    def descent(self, net: nn.Module) -> torch.optim.Optimizer:
        return OPTIMISERS[OPTIMISER.check(f"{self.recipe}.optimiser", self.optimiser)](net.parameters(), lr=self.lr)

    def error(self, times: Tensor, targets: Tensor) -> Tensor:
        """1/2 sum of squared differences; a neuron that never fires counts as late by `patience`, and learns by the layer's push."""
        return (times.clamp(max=self.late + self.patience) - targets).square().sum() / 2


@dataclass(frozen=True, kw_only=True)
class SpikePropXor(SpikeProp):
    """XOR by spike times: inputs at 0 or 6 ms and a bias at 0; equal inputs to answer late. One part for each random start.

    One hidden neuron is inhibitory: the weights from it stay at or below 0. Converged: the summed error is under `stop`.
    """

    seeds: int = 10
    early_input: float = 0.0
    late_input: float = 6.0
    stop: float = 1.0

    def parts(self) -> list[str]:
        return [f"seed-{self.seed + k}" for k in range(self.seeds)]

    def patterns(self) -> tuple[Tensor, Tensor]:
        """Inputs `[4, 3]` and targets `[4, 1]`, ms."""
        a, b = self.early_input, self.late_input
        times = torch.tensor([(a, a, 0.0), (a, b, 0.0), (b, a, 0.0), (b, b, 0.0)], dtype=torch.float64)
        return times, torch.tensor([[self.late], [self.early], [self.early], [self.late]], dtype=torch.float64)

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Advance) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(int(part.removeprefix("seed-")))
        net = nn.Sequential(self.layer(3, self.hidden), self.layer(self.hidden, 1)).double()
        hidden, output = (layer.weight for layer in net)
        with torch.no_grad():
            hidden.uniform_(-0.5, 1.0, generator=draw)
            output.uniform_(0.0, 1.0, generator=draw)
            output[:, -1].uniform_(-0.5, 0.0, generator=draw)
        (times, targets), optimiser, losses = self.patterns(), self.descent(net), []
        while True:
            loss = self.error(net(times), targets)
            losses.append(loss.item())
            if losses[-1] < self.stop or len(losses) > self.epochs:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                output[:, -1].clamp_(max=0)
            advance(len(losses) / (self.epochs + 1))
        with torch.no_grad():
            layers = [times, middle := net[0](times), net[1](middle)]
        params = sum(p.numel() for p in net.parameters())
        converged = {"epochs": len(losses) - 1} if losses[-1] < self.stop else {"epochs": None}
        return {**converged, "losses": losses, "layers": [_listed(values) for values in layers], "params": params}

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        needed = [found["epochs"] for found in results.values() if found["epochs"] is not None]
        first = next(iter(results.values()))
        rows = [[*row[:2], target, *out] for row, (target,), out in zip(first["layers"][0], self.patterns()[1].tolist(), first["layers"][2], strict=True)]
        curves = [{"name": name, "x": list(range(len(f["losses"]))), "y": f["losses"]} for name, f in results.items()]
        return {
            "params": first["params"],
            "results": {
                "starts": len(results), "converged": len(needed), f"share_within_{self.epochs}_epochs": len(needed) / len(results),
                "mean_epochs": sum(needed) / len(needed) if needed else None, "slowest_epochs": max(needed, default=None),
            },
            "figures": [
                {"kind": "lines", "title": "Error while learning XOR", "caption": f"Summed over the four patterns; learning ends under {self.stop:g}.",
                 "x_label": "epoch", "y_label": "1/2 sum (t - target)², ms²", "x_scale": "linear", "y_scale": "log", "series": curves},
                {"kind": "table", "title": "XOR in spike times", "caption": f"Of {next(iter(results))}; ms.",
                 "columns": ["first input", "second input", "target", "output"], "rows": rows},
                *(_raster(f"Inputs at {row[0]:g} and {row[1]:g} ms", "", first["layers"], k) for k, row in enumerate(first["layers"][0])),
            ],
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SpikePropClassifier(SpikeProp):
    """A table of scikit-learn by k-fold stratified cross-validation, one part for each fold; the class whose neuron fires first wins.

    Features enter as populations of `fields` Gaussian receptive fields over the range of the training folds, with a bias spike at 0.
    The number of epochs is fixed beforehand, and the last weights are the ones that are tested. A sample for which no output
    fires counts as wrong.
    """

    folds: int = 10
    fields: int = 8
    beta: float = 1.5
    batch: int = 16
    drive: float = 8.0
    shown: int = 3

    def parts(self) -> list[str]:
        return [f"fold-{k}" for k in range(self.folds)]

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Advance) -> dict[str, Any]:
        from sklearn.model_selection import StratifiedKFold

        fold = int(part.removeprefix("fold-"))
        x, y, names = load(self.recipe, self.data)
        split = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        train, test = (torch.as_tensor(rows) for rows in list(split.split(x, y))[fold])
        low, high = x[train].amin(0), x[train].amax(0)
        code = nn.functional.pad(population_times(x.clamp(low, high), low, high, self.fields, self.beta), (0, 1))  # bias: a spike at 0
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.seed * 1000 + fold)
            net = nn.Sequential(self.layer(code.shape[1], self.hidden, self.drive), self.layer(self.hidden, len(names), self.drive)).double()
            curve = self._train(net, code, y, train, test, len(names), advance)
        with torch.no_grad():
            layers = [code[test], middle := net[0](code[test]), net[1](middle)]
        spikes = [values.isfinite().double() for values in layers[:2]]
        operations = sum(layer.reached(fired).sum().item() for layer, fired in zip(net, spikes, strict=True))
        return {
            "accuracy": accuracy(layers[2], y[test]), "curve": curve, "labels": y[test].tolist(), "predictions": winners(layers[2]).tolist(),
            "classes": names, "layers": [_listed(values[: self.shown]) for values in layers] if fold == 0 else [], "operations": operations,
            "params": sum(p.numel() for p in net.parameters()),
        }  # fmt: skip

    def _train(
        self, net: nn.Sequential, code: Tensor, y: Tensor, train: Tensor, test: Tensor, classes: int, advance: Advance
    ) -> list[list[float]]:
        """`[loss per sample, training accuracy, test accuracy]` of every epoch; the first two are running."""
        optimiser, curve = self.descent(net), []
        targets = torch.where(nn.functional.one_hot(y, classes) > 0, self.early, self.late).double()
        for epoch in range(self.epochs):
            total, right = 0.0, 0.0
            for rows in train[torch.randperm(len(train))].split(self.batch):
                times = net(code[rows])
                loss = self.error(times, targets[rows])
                optimiser.zero_grad()
                (loss / len(rows)).backward()
                optimiser.step()
                total, right = total + loss.item(), right + accuracy(times, y[rows]) * len(rows)
            with torch.no_grad():
                curve.append([total / len(train), right / len(train), accuracy(net(code[test]), y[test])])
            advance((epoch + 1) / self.epochs)
        return curve

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        found, first = list(results.values()), next(iter(results.values()))
        scores = torch.tensor([f["accuracy"] for f in found], dtype=torch.float64)
        pairs = [pair for f in found for pair in zip(f["labels"], f["predictions"], strict=True)]
        counts = [[name, *(pairs.count((i, j)) for j in range(len(first["classes"]))), pairs.count((i, -1))] for i, name in enumerate(first["classes"])]
        curve = torch.tensor([f["curve"] for f in found], dtype=torch.float64).mean(0).T.tolist()
        epochs, synops = list(range(1, len(curve[0]) + 1)), sum(f["operations"] for f in found) / len(pairs)
        scale = {"x_scale": "linear", "y_scale": "linear"}
        return {
            "accuracy": {"test": scores.mean().item()}, "params": first["params"], "synops_per_image": synops, "energy_uJ": energy_of(synops, 0),
            "results": {
                "mean_accuracy": scores.mean().item(), "spread": scores.std(correction=0).item(), "worst_fold": scores.min().item(),
                "best_fold": scores.max().item(), "right": sum(a == b for a, b in pairs), "samples": len(pairs),
            },
            "figures": [
                {"kind": "lines", "title": "Accuracy while learning", "caption": f"Mean of {len(found)} folds; no epoch is chosen by it.", "x_label": "epoch",
                 "y_label": "accuracy", **scale, "series": [{"name": n, "x": epochs, "y": v} for n, v in zip(("training", "test"), curve[1:], strict=True)]},
                {"kind": "lines", "title": "Error while learning", "caption": "1/2 sum (t - target)², per training sample.", "x_label": "epoch",
                 "y_label": "ms²", **scale | {"y_scale": "log"}, "series": [{"name": "training", "x": epochs, "y": curve[0]}]},
                {"kind": "table", "title": "Confusion", "caption": "Rows: the class; columns: the answer. All test folds together.",
                 "columns": ["", *first["classes"], "no spike"], "rows": counts},
                *(_raster(f"Test sample {k + 1} of fold 0", f"A {first['classes'][first['labels'][k]]}.", first["layers"], k)
                  for k in range(len(first["layers"][0]) if first["layers"] else 0)),
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


def _listed(times: Tensor) -> list[list[float | None]]:
    """Rows of times as JSON holds them; None: no spike."""
    return [[value if math.isfinite(value) else None for value in row] for row in times.tolist()]


def _raster(title: str, caption: str, layers: Sequence[Sequence[Sequence[float | None]]], row: int) -> dict[str, Any]:
    names = ("inputs", "hidden", "outputs")
    groups = [
        {"name": name, "neurons": len(times[row]), "points": [[t, i] for i, t in enumerate(times[row]) if t is not None]}
        for name, times in zip(names, layers, strict=True)
    ]
    return {"kind": "raster", "title": title, "caption": caption, "x_label": "time, ms", "groups": groups}
