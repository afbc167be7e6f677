"""How far each layer's scaled rate is from the ANN's activation, after each number of time steps."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import bars_height, chart, log_axis, name_rows, spread, steps_axis
from spikeloom.report.learning import known
from spikeloom.report.markup import UNKNOWN, charts, count, note, percent, section, table
from spikeloom.report.record import number, series
from spikeloom.report.style import LIGHT, level_colours

NUMBERED = 12  # most lines that all carry their number


def layer_errors(record: dict[str, Any], prefix: str) -> str:
    """The section with the lines over T, the errors at T and the table of layers."""
    layers, title = record.get("layers") or [], "Error of the layers"
    if not layers:
        return section(f"{prefix}errors", title, note("The record holds no layers; errors and scales are left out."))
    errors = [series(layer.get("relative_error")) for layer in layers]
    intro = "Norm of the difference between a layer's scaled rate after t steps and the ANN's activation, relative to that of the "
    intro += "activation, on a calibration batch. The stronger the contrast of a line or a bar, the deeper its layer."
    shown = note("The record holds no relative errors: the charts are left out.")
    if any(map(known, errors)):
        shown = charts(*(draw(layers, errors, record["steps"], prefix) for draw in (_over_time, _at_the_end)))
    return section(f"{prefix}errors", title, shown, _table(record, layers, errors), intro=intro)


def _last(values: list[float]) -> float:
    return values[-1] if values else math.nan


def _over_time(layers: list[dict[str, Any]], errors: list[list[float]], steps: int, prefix: str) -> str:
    colours = level_colours(len(layers))
    drawn = [[value if value > 0 else math.nan for value in values] for values in errors]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for values, colour in zip(drawn, colours, strict=True):
            axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.6, marker="o" if steps <= 20 else "", ms=3.2)
        log_axis(axes.yaxis)
        _guide(axes, drawn, steps)
        steps_axis(axes, steps, "time steps used, t", linear=1)
        axes.set_ylabel("relative error")
        _number(axes, drawn, colours)

    text = "Relative error of each layer over the time steps. Both axes are logarithmic; an error that falls as 1/t runs parallel to the "
    text += "dotted line."
    ends = [(value, layer["name"]) for value, layer in zip(map(_last, errors), layers, strict=True) if math.isfinite(value)]
    if ends:
        (low, least), (high, most) = min(ends), max(ends)
        text += f" After {steps} steps {most} is furthest from the ANN ({high:.3g}), {least} nearest ({low:.3g})."
    return chart(f"{prefix}error-by-step", text, draw)


def _guide(axes: Axes, lines: list[list[float]], steps: int) -> None:
    """A dotted 1/t line through the middle of the errors at the first step, inside the range of the errors."""
    low, high = axes.get_ylim()
    first = [math.log(values[0]) for values in lines if values and math.isfinite(values[0])]
    if first and steps > 1:
        start = math.exp(sum(first) / len(first))
        axes.plot([1, steps], [start, start / steps], color=LIGHT["muted"], linestyle=(0, (1.3, 1.3)), linewidth=1.3, zorder=1)
        axes.set_ylim(low, high)


def _number(axes: Axes, lines: list[list[float]], colours: list[str]) -> None:
    """Each line's place in the table beside its end; of many lines only the first, the last and the worst."""
    ends = {i: math.log(_last(values)) for i, values in enumerate(lines) if math.isfinite(_last(values))}
    if len(ends) > NUMBERED:
        ends = {i: ends[i] for i in {min(ends), max(ends), max(ends, key=ends.__getitem__)}}
    low, high = axes.get_ylim()
    for i, place in zip(ends, spread(list(ends.values()), 0.065 * math.log(high / low)), strict=True):
        words = {"va": "center", "weight": "bold", "color": colours[i], "annotation_clip": False}
        axes.annotate(str(i + 1), (len(lines[i]), math.exp(place)), (7, 0), textcoords="offset points", **words)


def _at_the_end(layers: list[dict[str, Any]], errors: list[list[float]], steps: int, prefix: str) -> str:
    names = [f"{i} {layer['name']}" for i, layer in enumerate(layers, 1)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (values, colour) in enumerate(zip(errors, level_colours(len(layers)), strict=True)):
            if math.isfinite(_last(values)):
                axes.barh(place, _last(values), height=0.68, color=colour)
                axes.annotate(f"{_last(values):.2g}", (_last(values), place), (4, 0), textcoords="offset points", va="center", fontsize=10)
        name_rows(axes, names)
        axes.margins(x=0.14)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"relative error at t = {steps}")

    text = f"Relative error after {steps} steps. The numbers before the names are those at the ends of the lines."
    return chart(f"{prefix}error-at-the-end", text, draw, bars_height(len(names)))


def _table(record: dict[str, Any], layers: list[dict[str, Any]], errors: list[list[float]]) -> str:
    rows = []
    for i, (layer, values) in enumerate(zip(layers, errors, strict=True), 1):
        scale, rate, error = map(_short, (layer.get("scale"), layer["rate"], _last(values)))
        rows.append([f"{i} {layer['name']}", count(layer["neurons"]), scale, rate, percent(layer["silent"], 1), error])
    heads = ("layer", "neurons", "scale, mean", "rate", "silent", f"error at t = {record['steps']}")
    words = "Scale: the ANN's activation that a spike at every step stands for. Silent: share of (neuron, image) pairs without a spike."
    return table(heads, rows, words)


def _short(value: Any) -> str:
    value = number(value)
    return UNKNOWN if value is None else f"{value:.3g}"
