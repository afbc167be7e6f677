"""Continuous functions by networks of temporal sigmoid units: the error against the number of units, next to theory.

On an interval, n ramp units r_k = clip(n x - k, 0, 1) and one output unit, f(0) + sum_k (f((k+1)/n) - f(k/n)) r_k, are the
piecewise linear interpolant at n + 1 knots. On the square, ramps in x, y and x - y give |x - a|, |y - b| and |(x - y) - (a - b)|, from
which one unit for each knot makes the hat 1 - (|x - a| + |y - b| + |(x - y) - (a - b)|) n / 2 of a triangulation; the output unit sums
f(a, b) times the hats. Weights are set, not learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import RecipeError
from spikeloom.core.params import nearest
from spikeloom.experiments._figures import lines, table
from spikeloom.timing.temporal_sigmoid import temporal_sigmoid, time_of, value_of
from spikeloom.train.experiment import Experiment


@dataclass(frozen=True)
class Target:
    """A function from `[B, inputs]` in [0, 1] to [0, 1], and the error that interpolation at distance h cannot exceed."""

    formula: str
    inputs: int
    values: Callable[[Tensor], Tensor]
    bound: Callable[[float], float]


# error of linear interpolation: h²/8 max |f''| on an interval, R²/2 max ||f''|| in a triangle of circumradius R = h/sqrt 2
TARGETS = {
    "sine": Target(
        "0.5 + 0.4 sin(2πx)", 1, lambda x: 0.5 + 0.4 * torch.sin(2 * math.pi * x[:, 0]), lambda h: h**2 / 8 * 0.4 * 4 * math.pi**2,
    ),
    "root": Target("√x", 1, lambda x: x[:, 0].sqrt(), lambda h: math.sqrt(h) / 4),
    "waves": Target(
        "0.5 + 0.4 sin(πx) cos(πy)", 2,
        lambda x: 0.5 + 0.4 * torch.sin(math.pi * x[:, 0]) * torch.cos(math.pi * x[:, 1]), lambda h: h**2 / 4 * 0.4 * math.pi**2,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Approximation(Experiment):
    """One part for each function and each number of segments. `points`: along an axis of the grid on which the error is measured."""

    functions: tuple[str, ...] = ("sine", "root", "waves")
    segments: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128)
    segments_2d: tuple[int, ...] = (2, 4, 8, 16, 32)
    points: int = 4001
    points_2d: int = 121
    width: float = 1.0
    threshold: float = 2.0

    def parts(self) -> list[str]:
        for name in self.functions:
            if name not in TARGETS:
                raise RecipeError(f"{self.recipe}.functions: got {name!r}; {nearest(name, TARGETS)}")
        counts = {1: self.segments, 2: self.segments_2d}
        return [f"{name}-{n}" for name in self.functions for n in counts[TARGETS[name].inputs]]

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Callable[[float], None]) -> dict[str, Any]:
        name, n = part.split("-")[0], int(part.split("-")[1])
        target = TARGETS[name]
        axis = torch.linspace(0, 1, self.points if target.inputs == 1 else self.points_2d, dtype=torch.float64)
        x = torch.cartesian_prod(*[axis] * target.inputs).view(-1, target.inputs)
        layers = interval(target.values, n) if target.inputs == 1 else square(target.values, n)
        y = self.answer(x, layers)
        wanted, units = target.values(x), sum(len(bias) for _, bias in layers)
        found = {"units": units, "segments": n, "error": (y - wanted).abs().max().item(), "bound": target.bound(1 / n)}
        some = slice(None, None, max(1, self.points // 200))
        return found | ({"x": x[some, 0].tolist(), "y": y[some].tolist(), "wanted": wanted[some].tolist()} if target.inputs == 1 else {})

    def answer(self, x: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
        """What the last unit's spikes say, `[B]`, for values x `[B, inputs]` through layers of weights `[out, in]` and biases `[out]`."""
        end = self.width
        times = time_of(x, end, self.width)
        for weight, bias in layers:
            times, end = temporal_sigmoid(times, weight, bias, end, width=self.width, threshold=self.threshold)
        return value_of(times, end, self.width)[:, 0]

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        by_name = {name: [r for part, r in results.items() if part.startswith(f"{name}-")] for name in self.functions}
        by_name = {name: rows for name, rows in by_name.items() if rows}
        errors = [
            (f"{name}, {what}", [r["units"] for r in rows], [r[key] for r in rows])
            for name, rows in by_name.items() for what, key in (("measured", "error"), ("bound", "bound"))
        ]  # fmt: skip
        worst = {f"{name}_error": rows[-1]["error"] for name, rows in by_name.items()}
        slopes = {f"{name}_slope": _slope(rows[-2:]) for name, rows in by_name.items() if len(rows) > 1}
        largest = {f"{name}_error_over_bound": max(r["error"] / r["bound"] for r in rows) for name, rows in by_name.items()}
        rows = [[name, r["segments"], r["units"], r["error"], r["bound"]] for name, found in by_name.items() for r in found]
        caption = "The bound is that of linear interpolation between the knots."
        return {
            "results": {f"{name}_is": TARGETS[name].formula for name in by_name} | worst | slopes | largest,
            "figures": [
                lines("Largest error against units", caption, ("units", "largest error"), errors, x_scale="log", y_scale="log"),
                *(_curves(name, rows) for name, rows in by_name.items() if TARGETS[name].inputs == 1),
                table("Errors", caption, ("function", "segments", "units", "error", "bound"), rows),
            ],
        }


def interval(f: Callable[[Tensor], Tensor], n: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the two layers that interpolate f on [0, 1] at n + 1 knots."""
    knots = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    values = f(knots[:, None])
    return [_ramps(torch.ones(1, 1, dtype=torch.float64), 0, n, n), (values.diff()[None], values[:1])]


def square(f: Callable[[Tensor], Tensor], n: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the three layers that interpolate f on the unit square at (n + 1)² knots."""
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    ramps = [_ramps(directions[i : i + 1], first, last, n) for i, (first, last) in enumerate(((0, n), (0, n), (-n, n)))]
    i, j = torch.cartesian_prod(torch.arange(n + 1), torch.arange(n + 1)).T
    distances = [_distance(i, 0, n), _distance(j, 0, n), _distance(i - j, -n, n)]
    hats = (-torch.cat([w for w, _ in distances], 1) / 2, 1 - sum(b for _, b in distances) / 2)
    values = f(torch.stack((i, j), 1).double() / n)
    first = (torch.cat([w for w, _ in ramps]), torch.cat([b for _, b in ramps]))
    return [first, hats, (values[None], torch.zeros(1, dtype=torch.float64))]


def _ramps(direction: Tensor, first: int, last: int, n: int) -> tuple[Tensor, Tensor]:
    """Units clip(n z - k, 0, 1) for k from first to last - 1, where z is the input along `direction` `[1, in]`."""
    return n * direction.expand(last - first, -1), -torch.arange(first, last).double()


def _distance(knot: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Weights on the ramps and biases that give n |z - knot/n|: ramps from the knot on count up, those before it down."""
    sign = torch.where(torch.arange(first, last) >= knot[:, None], 1.0, -1.0).double()
    return sign, (knot - first).double()


def _slope(rows: list[dict[str, Any]]) -> float:
    a, b = rows
    return math.log(b["error"] / a["error"]) / math.log(b["units"] / a["units"])


def _curves(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    series = [(TARGETS[name].formula, rows[0]["x"], rows[0]["wanted"]), *((f"{r['units']} units", r["x"], r["y"]) for r in rows[:3])]
    return lines(f"{name} and its approximations", "What the spike time of the output unit says.", ("x", "value"), series)
