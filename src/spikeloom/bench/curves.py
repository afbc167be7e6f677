"""The record of `bench architectures` as curves: error over T, one panel per network, beside a line that falls like 1 / T."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import ANN, legend, log_axis, steps_axis
from spikeloom.report.style import SERIES

COLUMNS, WIDTH, HEIGHT = 3, 4.4, 3.1
DASHED = (0, (2, 1.5))


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Fill `figure`."""
    nets = list(dict.fromkeys(row["net"] for row in record["results"]))
    lines = -(-len(nets) // COLUMNS)
    figure.set_size_inches(WIDTH * min(COLUMNS, len(nets)), HEIGHT * lines + 0.3)
    panels = figure.subplots(lines, min(COLUMNS, len(nets)), squeeze=False, sharey=True).flat
    for axes, name in zip(panels, nets, strict=False):
        _panel(axes, [row for row in record["results"] if row["net"] == name])
        axes.set_title(f"{name}, {record['options']['batch']} inputs", pad=18)
    for axes in list(panels)[len(nets) :]:
        axes.set_axis_off()


def _panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["refused"]:
            axes.text(0.05, 0.5, "refused: " + row["refused"], transform=axes.transAxes, wrap=True)
            continue
        by_step = [sorted(errors) for errors in zip(*(layer["relative_error"] for layer in row["layers"]), strict=True)]
        average = row["pools"] == "average"
        label = "_{} layer".format if average else "{} layer".format  # an underscore keeps it out of the legend
        style: dict[str, Any] = {"linestyle": DASHED, "linewidth": 1.4} if average else {}
        for which, place, colour in (("worst", -1, SERIES[1]), ("median", len(by_step[0]) // 2, SERIES[0])):
            axes.plot(row["steps"], [errors[place] for errors in by_step], color=colour, label=label(which), **style)
    steps = next((row["steps"] for row in rows if not row["refused"]), [])
    if steps:
        axes.plot(steps, [1 / t for t in steps], label="1/T", **ANN)
        if any(row["pools"] == "average" for row in rows):
            axes.plot([], [], color=SERIES[0], linestyle=DASHED, linewidth=1.4, label="average pools")
        steps_axis(axes, max(steps[-1], 17), "T")
        log_axis(axes.yaxis)
        axes.set_ylabel("error relative to the ANN")
        legend(axes, 4)
