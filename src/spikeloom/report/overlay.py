"""Charts that lay several runs over each other. A run keeps its letter and colour all over the page."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import ANN, LINEAR, chart, percent_axis, spread, steps_axis, whole_steps
from spikeloom.report.learning import curve, known
from spikeloom.report.markup import charts, energy, esc, note, percent, section
from spikeloom.report.record import column, number, series
from spikeloom.report.style import LIGHT, SERIES

DASHES = ("-", (0, (5, 1.8)), (0, (1.3, 1.3)), (0, (6, 1.5, 1.3, 1.5)))


def letter(index: int) -> str:
    """A, B, ... Z, A1, ... for the 1-based `index`."""
    turn, place = divmod(index - 1, 26)
    return f"{chr(ord('A') + place)}{turn or ''}"


def badge(index: int) -> str:
    """The run's letter on its colour, as HTML."""
    return f'<span class="badge" style="background:var(--s{(index - 1) % len(SERIES) + 1})">{letter(index)}</span>'


def look(index: int) -> dict[str, Any]:
    """Line colour and dashes of the 1-based `index`; dashes change when the colours have been used up."""
    return {"color": SERIES[(index - 1) % len(SERIES)], "linestyle": DASHES[(index - 1) // len(SERIES) % len(DASHES)]}


def overlays(records: list[dict[str, Any]], rows: list[dict[str, Any]], labels: list[str]) -> str:
    """The section with accuracy and energy bars, and the curves and rates of all runs."""
    key = "".join(f"<li>{badge(i)}{esc(label)}</li>" for i, label in enumerate(labels, 1))
    figures = {
        "accuracy and energy": _bars(rows),
        "test accuracy per epoch": _epochs(records, "test_accuracy", "accuracy-curves", "Test accuracy over the epochs"),
        "training loss per epoch": _epochs(records, "train_loss", "loss-curves", "Training loss over the epochs"),
        "accuracy per time step": _steps(records),
        "rates": _rates(records),
    }
    missing = [name for name, figure in figures.items() if not figure]
    left_out = note(f"No run recorded {', '.join(missing)}: left out.") if missing else ""
    return section("charts", "Side by side", f'<ul class="key" aria-label="Key">{key}</ul>', charts(*figures.values()), left_out)


def _mark_ends(axes: Axes, ends: list[tuple[int, float, float]]) -> None:
    """Each line's letter beside its last point, moved apart where the lines end close together."""
    low, high = axes.get_ylim()
    for column_x in {x for _, x, _ in ends}:
        here = [(index, y) for index, x, y in ends if x == column_x]
        for (index, _), place in zip(here, spread([y for _, y in here], (high - low) * 0.065), strict=True):
            words = {"va": "center", "weight": "bold", "color": look(index)["color"], "annotation_clip": False}
            axes.annotate(letter(index), (column_x, place), (7, 0), textcoords="offset points", **words)


def _bars(rows: list[dict[str, Any]]) -> str:
    ways = [name for name in ("validated", "test", "last") if known(column(rows, name))]
    if not ways:
        return ""
    which = next((name for name in ways if all(map(math.isfinite, column(rows, name)))), ways[0])
    accuracy, spent, dense = (column(rows, key) for key in (which, "energy_uJ", "ann_energy_uJ"))

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for i, (value, cost) in enumerate(zip(accuracy, spent, strict=True), 1):
            _bar(left, i, value, percent(value, 1))
            _bar(right, i, cost, energy(cost))
        right.barh([i + 0.36 for i in range(1, len(rows) + 1)], dense, height=0.16, color=LIGHT["relu"])
        left.set_title(f"accuracy ({which})")
        right.set_title("energy per image, µJ")
        for axes in (left, right):
            axes.set_yticks(range(1, len(rows) + 1), list(map(letter, range(1, len(rows) + 1))))
            axes.set_ylim(len(rows) + 0.6, 0.4)
            axes.grid(False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.margins(x=0.3)
        left.set_xlim(0, 1.3)
        left.set_xticks((0, 0.5, 1))
        left.spines["bottom"].set_bounds(0, 1)
        percent_axis(left, "x")

    text = "Accuracy with its energy."
    ranked = sorted((-value, i) for i, value in enumerate(accuracy) if math.isfinite(value))
    text += f" The most accurate run is {letter(ranked[0][1] + 1)} ({percent(-ranked[0][0])})"
    cheap = sorted((cost, i) for i, cost in enumerate(spent) if math.isfinite(cost))
    text += f"; the cheapest is {letter(cheap[0][1] + 1)} ({energy(cheap[0][0])} per image)." if cheap else "."
    text += " Grey bars: the same network with ReLU." if known(dense) else ""
    return chart("accuracy-energy", text, draw, max(210, 72 + 38 * len(rows)))


def _bar(axes: Axes, index: int, value: float, text: str) -> None:
    if math.isfinite(value):
        axes.barh(index, value, height=0.5, color=look(index)["color"])
        axes.annotate(text, (value, index), (4, 0), textcoords="offset points", va="center", fontsize=10.5)


def _epochs(records: list[dict[str, Any]], key: str, name: str, title: str) -> str:
    runs = [(i, record["epochs"]) for i, record in enumerate(records, 1) if known(column(record.get("epochs") or [], key))]
    if not runs:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ends = []
        for i, epochs in runs:
            curve(axes, epochs, key, **look(i))
            ends.append((i, *[(e["epoch"] + 1, e[key]) for e in epochs if number(e.get(key)) is not None][-1]))
        whole_steps(axes, "epochs trained")
        if key.endswith("accuracy"):
            percent_axis(axes)
        _mark_ends(axes, ends)

    return chart(name, f"{title}. One line per run, marked by its letter.", draw)


def _steps(records: list[dict[str, Any]]) -> str:
    runs = [(i, series(record.get("accuracy_by_step"))) for i, record in enumerate(records, 1)]
    runs = [(i, values) for i, values in runs if known(values)]
    if not runs:
        return ""
    anns = sorted({record["conversion"]["ann_accuracy"] for record in records if record.get("conversion")})
    longest = max(len(values) for _, values in runs)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, values in runs:
            axes.plot(range(1, len(values) + 1), values, marker="o" if len(values) <= 20 else "", **look(i))
        for value in anns:
            axes.axhline(value, zorder=1, **{**ANN, "linewidth": 1})
        steps_axis(axes, longest, "time steps used, t", longest if not anns else LINEAR)
        percent_axis(axes)
        _mark_ends(axes, [(i, len(values), values[-1]) for i, values in runs if math.isfinite(values[-1])])

    text = "Test accuracy from the first t time steps. How soon each run could stop."
    if anns:
        text += f" Dashed grey: the ANN{'s' * (len(anns) > 1)} before conversion, {', '.join(map(percent, anns))}."
    return chart("accuracy-steps", text, draw)


def _rates(records: list[dict[str, Any]]) -> str:
    runs = [(i, column(record.get("layers") or [], "rate")) for i, record in enumerate(records, 1)]
    runs = [(i, rates) for i, rates in runs if known(rates)]
    if not runs:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, rates in runs:
            axes.plot(_depth(len(rates)), rates, marker="o", ms=3.5, **look(i))
        axes.set_ylim(bottom=0)
        axes.set_xticks((0, 0.5, 1), ("first layer", "half way", "last layer"))
        axes.set_xlabel("relative depth")
        axes.set_ylabel("output per neuron and step")
        _mark_ends(axes, [(i, 1.0, rates[-1]) for i, rates in runs if math.isfinite(rates[-1])])

    return chart("rates-depth", "Firing rate against relative depth. Networks of any depth share one axis, first layer to last.", draw)


def _depth(layers: int) -> list[float]:
    return [k / (layers - 1) for k in range(layers)] if layers > 1 else [1.0]
