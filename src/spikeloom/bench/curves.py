"""The record of `bench architectures` as curves: error over T, one panel per network, beside a line that falls like 1 / T."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikeloom.report.chart import ANN, log_axis, steps_axis
from spikeloom.report.style import SERIES

COLUMNS, WIDTH, HEIGHT = 3, 4.4, 3.1
DASHED = (0, (2, 1.5))


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Fill `figure`."""
    nets = list(dict.fromkeys(row["net"] for row in record["results"]))
    lines = -(-len(nets) // COLUMNS)
    figure.set_size_inches(WIDTH * min(COLUMNS, len(nets)), HEIGHT * lines + 0.6)
    panels = list(figure.subplots(lines, min(COLUMNS, len(nets)), squeeze=False, sharey=True).flat)
    named: dict[str, Line2D] = {}
    for axes, name in zip(panels, nets, strict=False):
        named |= _panel(axes, [row for row in record["results"] if row["net"] == name])
        axes.set_title(name)
    for axes in panels[:: min(COLUMNS, len(nets))]:
        axes.set_ylabel("error relative to the ANN")
    for axes in panels[len(nets) :]:
        axes.set_axis_off()
    if named:
        figure.legend(list(named.values()), list(named), loc="outside lower left", ncols=-(-len(named) // 2) if len(nets) > 1 else 2)


# what the legend adds, and the line, where max pools became something other than gates
POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "average": (", average pools", {"linestyle": DASHED, "linewidth": 1.4}),
    "increase": (", pools of increases", {"linestyle": ":", "linewidth": 1.8}),
}


def _panel(axes: Axes, rows: list[dict[str, Any]]) -> dict[str, Line2D]:
    """Draw one network; the lines by what they are."""
    named: dict[str, Line2D] = {}
    for row in rows:
        if row["refused"]:
            axes.text(0.05, 0.5, "refused: " + row["refused"], transform=axes.transAxes, wrap=True)
            continue
        by_step = [sorted(errors) for errors in zip(*(layer["relative_error"] for layer in row["layers"]), strict=True)]
        words, style = POOLS.get(row["pools"], ("", {}))
        for which, place, colour in (("worst layer", -1, SERIES[1]), ("median layer", len(by_step[0]) // 2, SERIES[0])):
            (line,) = axes.plot(row["steps"], [errors[place] for errors in by_step], color=colour, **style)
            named[which + words] = line
        (named["1/T"],) = axes.plot(row["steps"], [1 / t for t in row["steps"]], **ANN)
    if named:
        steps_axis(axes, max(*(row["steps"][-1] for row in rows if row["steps"]), 17), "T")
        log_axis(axes.yaxis)
    return named
