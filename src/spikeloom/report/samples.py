"""Inside the network for single images: spike rasters and membranes beside the picture."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from spikeloom.report.chart import chart, spread, whole_steps
from spikeloom.report.figures import raster
from spikeloom.report.markup import elide, esc, note, section
from spikeloom.report.style import LIGHT, SERIES, level_colours

LAYERS, TRACES, MARKS = 4, 3, 1500  # most panels per chart, membranes per layer, spikes per panel
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


def samples(record: dict[str, Any], prefix: str) -> str:
    """The section with one row per recorded image."""
    found = record.get("samples") or []
    title = "Single images, spike by spike"
    if not found:
        return section(f"{prefix}samples", title, note("The record holds no samples; rasters and membranes are left out."))
    classes = (record.get("data") or {}).get("classes") or []
    if any(layer.get("times") for layer in record.get("layers") or []):
        intro = "Images of the test set, and when some neurons fire (one row each): those that fire first."
        return section(f"{prefix}samples", title, *(_timed(sample, i, classes, prefix) for i, sample in enumerate(found, 1)), intro=intro)
    rows = (_sample(sample, i, classes, prefix) for i, sample in enumerate(found, 1))
    levels = max(_levels(sample["layers"]) for sample in found)
    intro = "Images of the test set, the spikes of some neurons (one row each), and the membranes of those numbered at the left."
    intro += f" The stronger the contrast of a mark or a line, the higher its level, 1 to {levels}." if levels > 1 else ""
    return section(f"{prefix}samples", title, *rows, intro=intro)


def _timed(sample: dict[str, Any], index: int, classes: list[str], prefix: str) -> str:
    """An image beside the spike times of its layers, which know no steps."""
    groups = [{**layer, "points": [(time, neuron) for time, neuron, _ in layer["spikes"]]} for layer in sample["layers"]]
    words = {"title": f"Spike times of image {index}", "x_label": "time"}
    drawn = raster(f"{prefix}raster-{index}", {**words, "groups": groups}) if groups else note("No spikes recorded for this image.")
    return f'<div class="sample">{_picture(sample, index, classes)}{drawn}</div>'


def _sample(sample: dict[str, Any], index: int, classes: list[str], prefix: str) -> str:
    layers = sample["layers"][:LAYERS]
    left = len(sample["layers"]) - len(layers)
    hidden = note(f"{left} more recorded layers are not drawn.") if left else ""
    parts = _raster(layers, index, prefix), _membranes(layers, index, prefix)
    missing = "" if any(parts) else note("No spikes recorded for this image.")
    return f'<div class="sample">{_picture(sample, index, classes)}{"".join(parts)}{missing}</div>{hidden}'


def _picture(sample: dict[str, Any], index: int, classes: list[str]) -> str:
    label, guess = _named(sample["label"], classes), _named(sample["prediction"], classes)
    right = sample["label"] == sample["prediction"]
    verdict = '<span class="right">✓ correct</span>' if right else '<span class="wrong">✗ wrong</span>'
    image = str(sample["image"])
    alt = f"test image {index}, {label}"
    picture = f'<img src="{esc(image)}" alt="{esc(alt)}">' if _PICTURE.fullmatch(image) else note("No picture recorded.")
    words = f"<figcaption>label <b>{esc(label)}</b><br>predicted {esc(guess)}<br>{verdict}</figcaption>"
    return f'<figure class="picture">{picture}{words}</figure>'


def _named(index: Any, classes: list[str]) -> str:
    return classes[index] if isinstance(index, int) and 0 <= index < len(classes) else f"class {index}"


def _span(layer: dict[str, Any]) -> int:
    traced = max((len(trace["membrane"]) for trace in layer["traces"]), default=0)
    return max(traced, *(int(step) + 1 for step, _, _ in layer["spikes"]), 1) if layer["spikes"] else max(traced, 1)


def _levels(layers: list[dict[str, Any]]) -> int:
    emitted = (round(abs(value)) for layer in layers for _, _, value in layer["spikes"])
    kept = (len(trace["threshold"]) for layer in layers for trace in layer["traces"])
    return max(*emitted, *kept, 1, 1)


def _raster(layers: list[dict[str, Any]], index: int, prefix: str) -> str:
    if not layers:
        return ""
    steps, levels = max(map(_span, layers)), _levels(layers)
    shown = [_neurons_shown(layer) for layer in layers]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(layers), 1, sharex=True, squeeze=False)
        for axes, layer, neurons in zip(grid[:, 0], layers, shown, strict=True):
            _raster_panel(axes, layer, neurons, steps, levels)
        whole_steps(grid[-1, 0], "time step")

    rates = (f"{layer['name']} {sum(value for *_, value in layer['spikes']) / layer['neurons'] / steps:.2f}" for layer in layers)
    text = f"Spikes of image {index}. Mean output of the neurons shown: {', '.join(rates)}."
    if any(n < layer["neurons"] for n, layer in zip(shown, layers, strict=True)):
        text += " Busy layers are cut to their first neurons."
    return chart(f"{prefix}raster-{index}", text, draw, 60 + 112 * len(layers))


def _neurons_shown(layer: dict[str, Any]) -> int:
    """How many neurons fit into `MARKS` marks, so that a page stays small."""
    if len(layer["spikes"]) <= MARKS:
        return int(layer["neurons"])
    return max(1, int(sorted(neuron for _, neuron, _ in layer["spikes"])[MARKS]))


def _colour(value: float, levels: int) -> str:
    """Of an emitted value: its level's blue, or one colour for all negative ones."""
    return SERIES[1] if value < 0 else level_colours(levels)[min(max(round(value), 1), levels) - 1]


def _raster_panel(axes: Axes, layer: dict[str, Any], neurons: int, steps: int, levels: int) -> None:
    thick = max(0.6, 0.72 * 84 / neurons)
    cells: dict[str, list[tuple[float, int]]] = {}
    for step, neuron, value in layer["spikes"]:
        if value and neuron < neurons:
            cells.setdefault(_colour(value, levels), []).extend(((step + 0.6, neuron), (step + 1.4, neuron)))
    for colour, ends in cells.items():
        path = Path(ends, [Path.MOVETO, Path.LINETO] * (len(ends) // 2))
        axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=thick, capstyle="butt", snap=False))
    axes.set_xlim(0.5, steps + 0.5)
    axes.set_ylim(neurons - 0.3, -0.7)
    axes.set_yticks([])
    axes.grid(False)
    numbered = [trace["neuron"] for trace in layer["traces"][:TRACES] if trace["neuron"] < neurons]
    for neuron, place in zip(numbered, spread(numbered, 0.15 * neurons), strict=True):
        at_left = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 10, "color": LIGHT["muted"]}
        axes.text(-0.015, place, str(neuron), **at_left)
    axes.set_title(f"{elide(layer['name'], 34)}, {neurons} neurons")


def _membranes(layers: list[dict[str, Any]], index: int, prefix: str) -> str:
    traced = [layer for layer in layers if layer["traces"]]
    if not traced:
        return ""
    levels = _levels(layers)
    columns = min(TRACES, max(len(layer["traces"]) for layer in traced))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(traced), columns, squeeze=False, sharex=True, sharey="row")
        for row, layer in zip(grid, traced, strict=True):
            for axes in row[len(layer["traces"]) :]:
                axes.set_visible(False)
            for place, (axes, trace) in enumerate(zip(row, layer["traces"], strict=False)):
                _membrane_panel(axes, trace, layer["spikes"], levels)
                name = f"neuron {trace['neuron']}"
                axes.set_title(name if place else f"{elide(layer['name'], 56 // columns - 8)}, {name}")
        for axes in grid[-1]:
            whole_steps(axes, "time step")

    text = f"Membranes of image {index}. " + (
        "One line and one dashed threshold per level; along the top: the level emitted."
        if levels > 1
        else "The threshold is dashed; along the top: the spikes."
    )
    return chart(f"{prefix}membranes-{index}", text, draw, 60 + 112 * len(traced))


def _membrane_panel(axes: Axes, trace: dict[str, Any], spikes: list[list[int]], levels: int) -> None:
    colours = level_colours(levels)
    steps = range(1, len(trace["membrane"]) + 1)
    marker = "o" if len(steps) <= 20 else ""
    for k, threshold in enumerate(trace["threshold"]):
        colour = colours[min(k, levels - 1)]
        axes.axhline(threshold, color=colour, linewidth=1, linestyle=(0, (4, 2)))
        axes.plot(steps, [values[k] for values in trace["membrane"]], color=colour, linewidth=1.6, marker=marker, ms=3.2)
    top = axes.get_xaxis_transform()
    marks: dict[str, list[int]] = {}
    for step, neuron, value in spikes:
        if neuron == trace["neuron"] and value:
            if levels > 1 and len(steps) <= 12:
                axes.text(step + 1, 0.98, f"{value:g}", transform=top, ha="center", va="top", fontsize=10.5, weight="bold")
            else:
                marks.setdefault(_colour(value, levels), []).append(step + 1)
    for colour, places in marks.items():
        axes.plot(places, [0.92] * len(places), "|", color=colour, ms=8, mew=1.8, transform=top)
    axes.margins(y=0.22)
    axes.set_xlim(0.5, len(steps) + 0.5)
    axes.locator_params(axis="y", nbins=4)
