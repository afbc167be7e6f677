"""The record of `bench sparse` as curves: speed-up over density, one panel per layer."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikeloom.report.chart import ANN, log_axis
from spikeloom.report.style import SERIES

COLUMNS, WIDTH, HEIGHT = 4, 3.3, 2.7
STYLES = {True: "-", False: (0, (2, 1.5))}  # the smallest batch, and others


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Fill `figure`."""
    if record["options"]["model"]:
        return _scattered(figure, record)
    layers = list(dict.fromkeys(row["layer"] for row in record["results"]))
    columns, lines = min(COLUMNS, max(1, len(layers))), max(1, -(-len(layers) // COLUMNS))
    figure.set_size_inches(WIDTH * columns, HEIGHT * lines + 0.6)
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    named: dict[str, Line2D] = {}
    for axes, layer in zip(panels, layers, strict=False):
        named |= _panel(axes, [row for row in record["results"] if row["layer"] == layer])
        axes.set_title(layer)
    for axes in panels[len(layers) :]:
        axes.set_axis_off()
    if named:
        figure.legend(list(named.values()), list(named), loc="outside lower left", ncols=len(named))


def _scattered(figure: Figure, record: dict[str, Any]) -> None:
    """Layers of one network, each with its own density."""
    figure.set_size_inches(1.6 * WIDTH, 1.4 * HEIGHT)
    axes, rows = figure.subplots(), record["results"]
    smallest = min((row["batch"] for row in rows), default=1)
    for dtype, batch in dict.fromkeys((row["dtype"], row["batch"]) for row in rows):
        points = [(100 * row["density"], row["speedup_vs_dense"]) for row in rows if (row["dtype"], row["batch"]) == (dtype, batch)]
        colour, marker = SERIES[dtype != "float32"], "o" if batch == smallest else "^"
        axes.plot(*zip(*points, strict=True), linestyle="", marker=marker, color=colour, label=f"{dtype}, batch {batch}")
    axes.axhline(1, **ANN)
    axes.set_xscale("log")
    log_axis(axes.yaxis)
    axes.set_title(record["options"]["model"])
    axes.set_xlabel("events, % of the inputs")
    figure.legend(loc="outside lower left", ncols=4)


def _panel(axes: Axes, rows: list[dict[str, Any]]) -> dict[str, Line2D]:
    named: dict[str, Line2D] = {}
    smallest = min(row["batch"] for row in rows)
    for dtype, batch in dict.fromkeys((row["dtype"], row["batch"]) for row in rows):
        points = [(100 * row["density"], row["speedup_vs_dense"]) for row in rows if (row["dtype"], row["batch"]) == (dtype, batch)]
        colour = SERIES[0] if dtype == "float32" else SERIES[1]
        (named[f"{dtype}, batch {batch}"],) = axes.plot(*zip(*points, strict=True), color=colour, linestyle=STYLES[batch == smallest])
    axes.axhline(1, **ANN)
    axes.set_xscale("log")
    log_axis(axes.yaxis)
    axes.set_xlabel("events, % of the inputs")
    return named
