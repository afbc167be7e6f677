"""What the neurons do over the test images: mean rate per layer, and the shares that are silent, saturated or dormant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure

from spikeloom.report.chart import bars_height, chart, name_rows
from spikeloom.report.figures import histogram
from spikeloom.report.learning import known
from spikeloom.report.markup import charts, count, details, note, percent, section, table
from spikeloom.report.record import column, mean_rate, number
from spikeloom.report.style import SERIES

SHARES = {"silent": SERIES[0], "saturated": SERIES[1], "dormant": SERIES[3]}
WORDS = {
    "silent": "that never emit (silent)",
    "saturated": "that emit the highest level at every step (saturated)",
    "dormant": "whose surrogate derivative is zero at every step, so that no gradient passes (dormant)",
}


def activity(record: dict[str, Any], prefix: str) -> str:
    """The section with both charts and the table behind them."""
    layers = record.get("layers") or []
    title = "Activity of the layers"
    if not layers:
        return section(f"{prefix}activity", title, note("The record holds no layers; rates and shares are left out."))
    intro = "From input to output. The rate is the mean output per neuron and time step; a neuron that emits levels counts them."
    intro += f" Measured on {count(record['probed_images'])} test images." if number(record.get("probed_images")) else ""
    shares = [share for share in SHARES if known(column(layers, share))]
    rows = [
        [layer["name"], layer.get("kind", ""), count(layer["neurons"]), f"{rate:.3f}", *(percent(layer[share], 1) for share in shares)]
        for layer, rate in zip(layers, column(layers, "rate"), strict=True)
    ]
    numbers = details("The numbers", table(("layer", "kind", "neurons", "rate", *shares), rows))
    figures = charts(_rates(record, layers, prefix), _shares(layers, shares, prefix), _times(layers, prefix))
    return section(f"{prefix}activity", title, figures, numbers, intro=intro)


def _rates(record: dict[str, Any], layers: list[dict[str, Any]], prefix: str) -> str:
    names, rates = [layer["name"] for layer in layers], column(layers, "rate")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.barh(range(len(names)), rates, height=0.68, color=SERIES[0])
        for row, rate in enumerate(rates):
            if rate == rate:
                axes.annotate(f"{rate:.2f}", (rate, row), (4, 0), textcoords="offset points", va="center", fontsize=10)
        name_rows(axes, names)
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("mean output per neuron and step")

    finite = [(rate, name) for rate, name in zip(rates, names, strict=True) if rate == rate]
    mean = mean_rate(record)
    text = "Firing rate of each layer."
    if finite and mean is not None:
        (low, least), (high, most) = min(finite), max(finite)
        text += f" The network's mean is {mean:.3f}; {most} is the busiest ({high:.2f}), {least} the quietest ({low:.2f})."
    return chart(f"{prefix}rates", text, draw, bars_height(len(names)))


def _shares(layers: list[dict[str, Any]], shares: list[str], prefix: str) -> str:
    if not shares:
        return ""
    names = [layer["name"] for layer in layers]

    def draw(figure: Figure) -> None:
        figure.get_layout_engine().set(wspace=0.06)
        for axes, share in zip(figure.subplots(1, len(shares), sharey=True, squeeze=False)[0], shares, strict=True):
            values = column(layers, share)
            axes.barh(range(len(names)), values, height=0.68, color=SHARES[share])
            axes.set_title(f"{share}, %")
            name_rows(axes, names)
            axes.set_xlim(0, 1)
            axes.set_xticks((0, 0.5, 1), ("0", "50", "100"))

    text = f"Neurons without information. Share of (neuron, image) pairs {', or '.join(WORDS[share] for share in shares)}."
    return chart(f"{prefix}shares", text, draw, bars_height(len(names)))


def _times(layers: list[dict[str, Any]], prefix: str) -> str:
    """When the neurons of each timing layer fire; each line has the area 1, and the latest hundredth is left out."""
    timed = [layer for layer in layers if layer.get("times") and len(layer["times"]["counts"]) > 1]
    if not timed:
        return ""
    series = []
    for layer in timed:
        edges, counts = layer["times"]["edges"][:-1], layer["times"]["counts"][:-1]
        spikes = sum(counts) or 1
        widths = [right - left for left, right in pairwise(edges)]
        density = [count / spikes / width for count, width in zip(counts, widths, strict=True)]
        series.append({"name": layer["name"], "edges": edges, "counts": density})
    means = ", ".join(f"{layer['name']} {layer['mean_time']:.3g}" for layer in timed)
    text = f"Mean spike time: {means}. The latest hundredth of the spikes is not drawn."
    return histogram(f"{prefix}times", {"title": "When the neurons fire", "caption": text, "series": series, "x_label": "time"})
