"""Clusters without labels: neurons with many delays compete by their first spike, and the winner learns. Labels only score the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import RecipeError, refusal
from spikeloom.experiments._figures import counted, lines, listed, raster, times_histogram
from spikeloom.timing.first_spike_clusters import first_spike_update, learning_window
from spikeloom.timing.receptive_fields import SPAN, population_times
from spikeloom.timing.srm import srm_times
from spikeloom.train.experiment import Experiment

SETS = ("gaussians", "iris")
LAYERS = ("inputs", "neurons before", "neurons after")
SHOWN = 3  # samples in rasters, of one cluster each


@dataclass(frozen=True, kw_only=True)
class Clusters(Experiment):
    """One part for each set of samples and random start. Times in ms; weights lie in [0, 1] and start uniform in (low, high).

    There are `per_class` neurons for each class; which class a neuron stands for is read off at the end.
    `share`: the threshold as a share of what all inputs of a sample bring when four terminals each, of full weight, are aligned.
    """

    sets: tuple[str, ...] = SETS
    starts: int = 5
    groups: int = 5
    members: int = 40
    spread: float = 0.05
    per_class: int = 2
    distance: float = 0.3
    fields: int = 8
    beta: float = 1.5
    delays: tuple[float, ...] = tuple(float(d) for d in range(16))
    tau: float = 3.0
    share: float = 0.4
    low: float = 0.3
    high: float = 0.7
    rate: float = 0.05
    window_b: float = 0.2
    window_c: float = -2.85
    window_beta: float = 1.67
    epochs: int = 6

    def parts(self) -> list[str]:
        for name in self.sets:
            if name not in SETS:
                raise RecipeError(refusal(f"{self.recipe}.sets", name, "one of " + ", ".join(SETS)))
        return [f"{name}-{self.seed + k}" for name in self.sets for k in range(self.starts)]

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Callable[[float], None]) -> dict[str, Any]:
        from sklearn.metrics import adjusted_rand_score

        name, seed = part.split("-")
        draw = torch.Generator().manual_seed(int(seed))
        x, y = self.gaussians(draw) if name == "gaussians" else _iris()
        neurons = self.per_class * (int(y.max()) + 1)
        code = population_times(x, x.amin(0), x.amax(0), self.fields, self.beta)
        delays = torch.tensor(self.delays, dtype=torch.float64)
        weight = torch.empty(neurons, code.shape[1], len(delays), dtype=torch.float64).uniform_(self.low, self.high, generator=draw)
        threshold = self.share * 4 * code.isfinite().double().sum(1).mean().item()
        scores, options = [], {"b": self.window_b, "c": self.window_c, "beta": self.window_beta}
        before, fired = weight, []
        for epoch in range(self.epochs + 1):
            if epoch:
                for i in torch.randperm(len(code), generator=draw):
                    t_out = srm_times(code[i : i + 1], weight, delays, self.tau, threshold)[0]
                    weight = first_spike_update(weight, code[i], t_out, delays, rate=self.rate, **options)
            times = srm_times(code, weight, delays, self.tau, threshold)
            winner = torch.where(times.isfinite().any(1), times.argmin(1), -1)
            fired.append(times)
            scores.append([adjusted_rand_score(y.tolist(), winner.tolist()), assigned(y, winner)])
            advance(epoch / self.epochs)
        end = SPAN.default + max(self.delays) + self.tau  # weights are positive: nobody fires later
        shown = torch.tensor([int((y == k).nonzero()[0]) for k in range(min(SHOWN, int(y.max()) + 1))])
        return {
            "scores": scores, "silent": (winner < 0).double().mean().item(), "used": len(winner[winner >= 0].unique()),
            "params": weight.numel(), "x": x[:, -2:].tolist(), "winner": winner.tolist(),
            "weights": [_histogram(before), _histogram(weight)], "layers": [listed(v[shown]) for v in (code, fired[-1])],
            "times": [counted(values, end) for values in (code, fired[0], fired[-1])],
        }  # fmt: skip

    def gaussians(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points `[N, 2]` of Gaussian clusters whose centres are at least `distance` apart, and their labels `[N]`."""
        for _ in range(10_000):
            centres = 0.1 + 0.8 * torch.rand(self.groups, 2, generator=draw, dtype=torch.float64)
            if self.groups == 1 or torch.pdist(centres).min() >= self.distance:
                break
        else:
            allowed = f"small enough for {self.groups} centres in the unit square"
            raise RecipeError(refusal(f"{self.recipe}.distance", self.distance, allowed))
        y = torch.arange(self.groups).repeat_interleave(self.members)
        return centres[y] + self.spread * torch.randn(len(y), 2, generator=draw, dtype=torch.float64), y

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        rows = {name: [r for part, r in results.items() if part.startswith(f"{name}-")] for name in self.sets}
        rows = {name: found for name, found in rows.items() if found}
        numbers: dict[str, float] = {}
        for name, found in rows.items():
            last = torch.tensor([r["scores"][-1] for r in found], dtype=torch.float64)
            numbers |= {f"{name}_adjusted_rand": last[:, 0].mean().item(), f"{name}_worst_adjusted_rand": last[:, 0].min().item()}
            silent = sum(r["silent"] for r in found) / len(found)
            numbers |= {f"{name}_rightly_assigned": last[:, 1].mean().item(), f"{name}_silent": silent}
        scores = {name: torch.tensor([r["scores"] for r in found]).double().mean(0).T.tolist() for name, found in rows.items()}
        part, first = next(iter(results.items()))
        dt = torch.linspace(-10, 5, 151, dtype=torch.float64)
        window = learning_window(dt, self.window_b, self.window_c, self.window_beta).tolist()
        passes, measures = range(self.epochs + 1), ("Adjusted Rand index", "Share rightly assigned")
        curves = [[(name, passes, found[i]) for name, found in scores.items()] for i in range(2)]
        weights = [{"name": name, **counts} for name, counts in zip(("before", "after"), first["weights"], strict=True)]
        times = {name: dict(zip(LAYERS, zip(*(r["times"] for r in found), strict=True), strict=True)) for name, found in rows.items()}
        samples = [dict(zip(("inputs", "neurons"), row, strict=True)) for row in zip(*first["layers"], strict=True)]
        return {
            "params": first["params"], "results": numbers,
            "figures": [
                *(lines(name, "Mean over random starts.", ("epoch", name.lower()), c) for name, c in zip(measures, curves, strict=True)),
                {"kind": "image", "title": "Which neuron fires first", "caption": f"Samples of {part}, their last two features.",
                 "src": _scatter(first["x"], first["winner"]), "alt": "samples in the plane, coloured by the neuron that fires first"},
                lines("Learning window", "By the time from arrival to spike.", ("arrival - spike, ms", "L"), [("L", dt.tolist(), window)]),
                *(times_histogram(f"Samples of {name}, all starts.", layers) for name, layers in times.items()),
                *(raster(f"A sample of cluster {k}", f"Of {part}, after learning.", row) for k, row in enumerate(samples)),
                {"kind": "histogram", "title": "Weights", "caption": f"Of {part}.", "x_label": "weight", "series": weights},
            ],
        }  # fmt: skip


def assigned(y: Tensor, winner: Tensor) -> float:
    """Share of samples that are right when every neuron stands for the class that it answers most often; -1, no winner, is wrong."""
    return sum(y[winner == neuron].bincount().max().item() for neuron in winner.unique() if neuron >= 0) / len(y)


def _iris() -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    found = datasets.load_iris()
    return torch.from_numpy(found.data), torch.from_numpy(found.target).long()


def _histogram(weight: Tensor) -> dict[str, list[float]]:
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    return {"edges": edges.tolist(), "counts": torch.histc(weight, 20, 0, 1).tolist()}


def _scatter(points: list[list[float]], winner: list[int]) -> str:
    """A PNG of the samples as a data URI."""
    import base64
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    x, y = zip(*points, strict=True)
    axes.scatter(x, y, c=winner, cmap="tab10", vmin=-1, vmax=8, s=14)
    axes.set_xlabel("feature 1")
    axes.set_ylabel("feature 2")
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
