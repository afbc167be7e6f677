"""A converted network against its ANN: headline, accuracy and cost after each number of time steps, early exit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import ANN, LINEAR, chart, legend, log_axis, percent_axis, steps_axis
from spikeloom.report.learning import known
from spikeloom.report.markup import UNKNOWN, charts, count, details, energy, esc, note, percent, section, short, table, tiles
from spikeloom.report.record import number, series
from spikeloom.report.style import LIGHT, SERIES

GOAL = {"color": SERIES[2], "linestyle": (0, (1.3, 1.3)), "linewidth": 1.7}
RING = {"ms": 10, "mfc": "none", "mec": LIGHT["ink"], "mew": 1.4, "zorder": 5, "linestyle": ""}


def sentence(record: dict[str, Any]) -> str:
    """What was converted, how, after whom and on which data, as an HTML paragraph."""
    made, paper, name = record["conversion"], record.get("paper") or {}, (record.get("data") or {}).get("name")
    cited = f" ({esc(_authors(str(paper['authors'])))} {esc(paper['year'])})" if paper else ""
    text = f"<b>{esc(made['model'])}</b> converted by <b>{esc(made['method'])}</b>{cited}, input as <b>{esc(made['input'])}</b>"
    text += f", T\u00a0=\u00a0{esc(record['steps'])}" + (f", on <b>{esc(name)}</b>" if name else "")
    text += f", seed {esc(record['seed'])}" if "seed" in record else ""
    return f'<p class="lead">{text}.</p>'


def _authors(text: str) -> str:
    names = [name.partition(",")[0].strip() for name in text.split(" and ")]
    return " and ".join(names) if len(names) <= 2 else f"{names[0]} et al."


def headline(record: dict[str, Any]) -> str:
    """Tiles with the accuracy after T, the ANN's, the loss, the steps to the target and the energy at that step."""
    made, steps = record["conversion"], record["steps"]
    ann, reached, target = made["ann_accuracy"], made.get("steps_to_target"), number(made.get("target"))
    goal = "no target was set" if target is None else f"smallest T with {100 * target:.4g}% of the ANN's accuracy, {percent(target * ann)}"
    last = final_accuracy(record)
    loss = None if last is None else ann - last
    dense, spent = number(record.get("ann_energy_uJ")), series(made.get("energy_uJ"))
    cost = spent[(reached or steps) - 1] if spent else number(record.get("energy_uJ")) if not reached else None
    beside = "per image" + (f"; the ANN {energy(dense)}" if dense is not None else "")
    tested = number((record.get("data") or {}).get("test"))
    images = "the test set" if tested is None else f"{count(tested)} test images"
    return tiles((
        ("Spiking accuracy", percent(last), f"of the converted network on {images}, after T = {steps}"),
        ("ANN accuracy", percent(ann), "of the network that was converted, on the same images"),
        ("Loss, points", points(loss), "ANN accuracy minus spiking accuracy, in percentage points"),
        ("Steps to target", UNKNOWN if target is None else f"T = {reached}" if reached else "not reached",
         goal if reached or target is None else f"{goal}; not within T = {steps}"),
        (f"Energy at T = {reached or steps}", energy(cost), beside),
    ))  # fmt: skip


def final_accuracy(record: dict[str, Any]) -> float | None:
    """Test accuracy after all T steps."""
    by_step = series(record.get("accuracy_by_step"))
    return number(by_step[-1]) if by_step else number(record["accuracy"].get("test"))


def points(loss: float | None) -> str:
    """A difference of two fractions, in percentage points."""
    return UNKNOWN if loss is None else f"{100 * loss:.2f}".replace("-", "\u2212")


def conversion(record: dict[str, Any], prefix: str) -> str:
    """The section with the charts over T and the table behind them."""
    made = record["conversion"]
    accuracy, synops, spent = (series(values) for values in (record.get("accuracy_by_step"), made.get("synops"), made.get("energy_uJ")))
    dense, macs = number(record.get("ann_energy_uJ")), sum(number(row["macs"]) or 0.0 for row in record.get("operations") or [])
    figures = {
        "accuracy": _accuracy(record, accuracy, prefix),
        "energy": _cost(f"{prefix}energy-by-step", spent, dense, made, ("energy", "µJ per image", energy)),
        "operations": _cost(f"{prefix}operations-by-step", synops, macs, made, ("operations", "operations per image", short)),
        "accuracy against energy": _tradeoff(record, accuracy, spent, dense, prefix),
    }
    missing = [name for name, figure in figures.items() if not figure]
    left_out = note(f"The record holds no {', no '.join(missing)} per time step: left out.") if missing else ""
    numbers = details("The numbers", _numbers(record, accuracy, synops, spent)) if accuracy or synops or spent else ""
    intro = "On the test set, of the output after the first t time steps. Operations and energies are cumulative, means per image."
    return section(f"{prefix}conversion", "Accuracy and cost over time", charts(*figures.values()), left_out, numbers, intro=intro)


def _accuracy(record: dict[str, Any], values: list[float], prefix: str) -> str:
    if not known(values):
        return ""
    made, steps = record["conversion"], len(values)
    ann, target, reached = made["ann_accuracy"], number(made.get("target")), made.get("steps_to_target")
    exits = [(row["mean_steps"], row["accuracy"]) for row in made.get("early_exit") or []]
    exits = [pair for pair in exits if None not in map(number, pair)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(range(1, steps + 1), values, color=SERIES[0], marker="o" if steps <= 20 else "", label="spiking")
        axes.axhline(ann, label="ANN", **ANN)
        if target is not None:
            axes.axhline(target * ann, label="target", **GOAL)
        if exits:
            axes.plot(*zip(*exits, strict=True), "D", color=SERIES[1], ms=5, label="early exit")
        if reached:
            axes.plot(reached, values[reached - 1], "o", **RING)
        steps_axis(axes, steps, "time steps used, t")
        percent_axis(axes)
        legend(axes, 4)

    text = f"Accuracy over the time steps. One step gives {percent(values[0])}, all {steps} give {percent(values[-1])}"
    text += f"; the ANN has {percent(ann)}."
    if target is not None:
        goal = f"{100 * target:.4g}% of that, {percent(target * ann)}"
        text += f" The ring marks t\u00a0=\u00a0{reached}, the first step with {goal}." if reached else f" The target, {goal}, is missed."
    text += " Diamonds: early exit, at its mean number of steps." if exits else ""
    return chart(f"{prefix}accuracy-by-step", text, draw)


def _cost(name: str, values: list[float], dense: float | None, made: dict[str, Any], words: tuple[str, str, Any]) -> str:
    if not known(values):
        return ""
    what, unit, write = words
    reached = made.get("steps_to_target")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        drawn = _positive(values) if len(values) > LINEAR else values
        axes.plot(range(1, len(values) + 1), drawn, color=SERIES[0], marker="o" if len(values) <= 20 else "", label="spiking")
        if dense:
            axes.axhline(dense, label="ANN", **ANN)
        if reached:
            axes.plot(reached, drawn[reached - 1], "o", **RING)
        steps_axis(axes, len(values), "time steps used, t")
        if len(values) > LINEAR and known(drawn):
            log_axis(axes.yaxis)
        if write is short:
            axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
        axes.set_ylabel(unit)
        legend(axes, 2)

    text = f"{what.capitalize()} over the time steps. One step takes {write(values[0])}, all {len(values)} take {write(values[-1])}"
    text += f"; the ANN takes {write(dense)}, {_crossing(values, dense)}." if dense else "."
    text += " The ring marks the first step that reaches the target." if reached else ""
    return chart(name, text, draw)


def _tick(value: float) -> str:
    """Like `short`, without zeros after the point."""
    return re.sub(r"\.0+(?!\d)", "", short(value))


def _crossing(values: list[float], dense: float) -> str:
    above = next((i for i, value in enumerate(values, 1) if value > dense), None)
    return f"exceeded from t\u00a0=\u00a0{above} on" if above else "never exceeded"


def _positive(values: list[float]) -> list[float]:
    return [value if value > 0 else math.nan for value in values]


def _tradeoff(record: dict[str, Any], accuracy: list[float], spent: list[float], dense: float | None, prefix: str) -> str:
    if not (known(accuracy) and known(_positive(spent))):
        return ""
    made, steps = record["conversion"], len(accuracy)
    ann, reached = made["ann_accuracy"], made.get("steps_to_target")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(_positive(spent), accuracy, color=SERIES[0], label="spiking")
        if dense:
            axes.plot(dense, ann, "s", color=LIGHT["muted"], ms=7, label="ANN")
        if reached:
            axes.plot(spent[reached - 1], accuracy[reached - 1], "o", **RING)
        log_axis(axes.xaxis)
        axes.set_xlabel("µJ per image")
        _mark_steps(axes, spent, accuracy)
        percent_axis(axes)
        legend(axes, 2)

    text = f"Accuracy against energy. Along the line the number of steps grows from 1 to {steps}"
    text += "; the square is the ANN." if dense else "."
    return chart(f"{prefix}accuracy-against-energy", text, draw)


def _mark_steps(axes: Axes, spent: Sequence[float], accuracy: Sequence[float]) -> None:
    """A dot with its t at every power of 2, below and right of the line."""
    for t in powers(len(spent)):
        if spent[t - 1] > 0 and math.isfinite(accuracy[t - 1]):
            axes.plot(spent[t - 1], accuracy[t - 1], "o", color=SERIES[0])
            look = {"textcoords": "offset points", "fontsize": 10, "color": LIGHT["muted"], "va": "top"}
            axes.annotate(str(t), (spent[t - 1], accuracy[t - 1]), (3, -3), **look)


def powers(steps: int) -> list[int]:
    """1, 2, 4, ... up to `steps`."""
    return [2**k for k in range(steps.bit_length())]


def _numbers(record: dict[str, Any], accuracy: list[float], synops: list[float], spent: list[float]) -> str:
    made, steps = record["conversion"], record["steps"]
    ann, dense = made["ann_accuracy"], number(record.get("ann_energy_uJ"))
    reached = made.get("steps_to_target")
    shown = sorted({*powers(steps), steps, *([reached] if reached else [])})
    rows = []
    for t in shown:
        hit, ops, cost = (number(values[t - 1]) if values else None for values in (accuracy, synops, spent))
        ratio = f"{cost / dense:.3g}" if cost is not None and dense else UNKNOWN
        cells = (percent(hit), points(None if hit is None else ann - hit), short(ops), energy(cost), ratio)
        rows.append([f"{t} (target)" if t == reached else str(t), *cells])
    return table(("t", "accuracy", "loss, points", "operations", "energy", "times the ANN's energy"), rows, "After t time steps; per image")


def early_exit(record: dict[str, Any], prefix: str) -> str:
    """The section with the accuracy and mean number of steps of each confidence; "" when none was measured."""
    found, ann = record["conversion"].get("early_exit") or [], record["conversion"]["ann_accuracy"]
    rows = []
    for row in found:
        confidence, accuracy, steps = (number(row[key]) for key in ("confidence", "accuracy", "mean_steps"))
        loss = points(None if accuracy is None else ann - accuracy)
        asked, used = (UNKNOWN if value is None else f"{value:.4g}" for value in (confidence, steps))
        rows.append([asked, percent(accuracy), loss, used])
    intro = "An image leaves as soon as its output is this confident; the mean number of steps is over the test set."
    heads = ("confidence", "accuracy", "loss, points", "mean steps")
    return section(f"{prefix}exit", "Early exit", table(heads, rows), intro=intro) if rows else ""
