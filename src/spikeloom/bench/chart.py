"""The record of a benchmark as bars: time over a copy of the same bytes, memory, and where a network's time goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from spikeloom.bench import curves, densities
from spikeloom.bench.race import short
from spikeloom.bench.shares import PARTS
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.report.chart import STYLE, bars_height, legend, name_rows
from spikeloom.report.style import LIGHT, SERIES

KINDS = (".svg", ".png", ".pdf")
Rows = list[dict[str, Any]]


def check(path: Path) -> Path:
    """`path` if its kind can be drawn. Raises ParameterError."""
    if path.suffix not in KINDS:
        raise ParameterError(refusal("bench --chart", str(path), "a file ending in " + ", ".join(KINDS)))
    return path


def write(record: dict[str, Any], path: Path) -> Path:
    """Draw `record` into `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    with matplotlib.style.context(["default", {**STYLE, "figure.facecolor": LIGHT["page"], "savefig.facecolor": LIGHT["page"]}]):
        figure = Figure(layout="constrained")
        {"architectures": curves.draw, "sparse": densities.draw}.get(record["bench"], _bar_charts)(figure, record)
        figure.suptitle(title(record), x=0.01, ha="left", fontsize=11.5, color=LIGHT["muted"])
        figure.savefig(temporary, dpi=150)
    os.replace(temporary, path)
    return path


def _bar_charts(figure: Figure, record: dict[str, Any]) -> None:
    if record["bench"] in ("conversion", "timing"):
        panels = (_conversion_panels if record["bench"] == "conversion" else _timing_panels)(record)
    elif record["bench"] == "inference":
        panels = _inference_panels(record)
    elif record["bench"] == "stdp":
        panels = [(_numbers("images_per_second"), _sorted(record["results"], "images_per_second"), "images a second, learning")]
    elif record["bench"] == "stream":
        keys = {"steps_per_second": "steps a second", "median_ms": "milliseconds a step, median", "p95_ms": "95 % of the steps"}
        panels = [(_numbers(key), record["results"], label) for key, label in keys.items()]
    else:
        panels = _neuron_panels(record["results"]) if record["bench"] == "neuron" else _network_panels(record["results"])
    tallest = max(len(rows) for _, rows, _ in panels)
    figure.set_size_inches(4.7 * len(panels), max(2.4, bars_height(tallest, 26) / 72 + 0.5))
    for axes, (draw, rows, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, rows, label)


def title(record: dict[str, Any]) -> str:
    """What was run and where, in one line."""
    o = record["options"]
    if record["bench"] == "architectures":
        return f"Converted layer by layer: distance from the ANN, IF with soft reset, up to T = {o['steps']}"
    if record["bench"] == "stdp":
        return f"Diehl and Cook's network, {o['neurons']} neurons; {record['threads']} thread(s)"
    if record["bench"] == "stream":
        return f"N-MNIST in bins of {o['bin_us']:,} us; {record['threads']} thread(s)"
    if record["bench"] == "sparse":
        return f"Event-driven convolutions against torch's best dense float32, {record['threads']} thread(s)"
    if record["bench"] == "conversion":
        return f"ann_{o['net']} converted, T = {o['steps']}; {record['threads']} thread(s), malloc {record['malloc']}"
    if record["bench"] == "inference":
        return f"{o['model']} by {o['method']}, T = {o['steps']}; {record['threads']} thread(s), malloc {record['malloc']}"
    if record["bench"] == "timing":
        return f"ReL-PSP layers, {o['batch']} images; {record['threads']} thread(s), malloc {record['malloc']}"
    name = o["neuron"].rpartition("/")[2]
    what = f"{name}, T={o['steps']}, N={o['neurons']:,}, {o['dtype']}" if record["bench"] == "neuron" else (
        f"{o['model']} {'-'.join(map(str, o['channels']))}, {name}, T={o['steps']}, B={o['batch']}, {o['precision']} bit"
    )  # fmt: skip
    where = record["device"] if record["device"] != "cpu" else f"{record['threads']} thread(s)"
    return f"{what}; {where}, malloc {record['malloc']}"


def _neuron_panels(rows: Rows) -> list[tuple[Any, Rows, str]]:
    named = {"forward": "forward", "forward_backward": "forward and backward"}
    panels: list[tuple[Any, Rows, str]] = [
        (_ratios, _sorted([row for row in rows if row["pass"] == which], "vs_copy"), f"{text}: multiples of a copy, logarithmic")
        for which, text in named.items()
    ]
    kept = [row for row in rows if row["pass"] == "forward_backward" and row["impl"] != "copy"]
    return [*panels, (_bytes, _sorted(kept, "saved_bytes_per_element_step"), "bytes kept for the backward")]


def _network_panels(rows: Rows) -> list[tuple[Any, Rows, str]]:
    rows = _sorted([row for row in rows if row["impl"] != "copy"], "median_ms")
    panels: list[tuple[Any, Rows, str]] = [(_stacked, rows, "milliseconds of a training step, by part")]
    if any(row["peak_mib"] is not None for row in rows):
        panels.append((_peaks, _sorted(rows, "peak_mib"), "MiB of peak memory"))
    return panels


def _conversion_panels(record: dict[str, Any]) -> list[tuple[Any, Rows, str]]:
    speed = _sorted([row for row in record["results"] if row["impl"] != "ann"], "test_set_s")
    return [
        (_numbers("test_set_s"), speed, "seconds for 10,000 images, extrapolated"),
        (_numbers("median_ms", 1e-3), _sorted(record["conversions"], "median_ms"), "seconds to convert"),
    ]


def _inference_panels(record: dict[str, Any]) -> list[tuple[Any, Rows, str]]:
    batches = sorted({row["batch"] for row in record["results"]})
    found = {batch: [row for row in record["results"] if row["batch"] == batch] for batch in batches}
    return [(_numbers("ms_per_image"), _sorted(rows, "ms_per_image"), f"ms an image, {batch} in a call") for batch, rows in found.items()]


def _timing_panels(record: dict[str, Any]) -> list[tuple[Any, Rows, str]]:
    found = [{**row, "impl": f"{row['impl']} {row['shape']}"} for row in record["results"]]
    return [
        (_numbers("median_ms"), found, "milliseconds, forward and backward"),
        (_numbers("peak_mib"), found, "MiB of peak memory"),
    ]


def _numbers(key: str, unit: float = 1.0) -> Callable[[Axes, Rows, str], None]:
    return lambda axes, rows, label: _bars(axes, rows, [row[key] * unit for row in rows], label)


def _sorted(rows: Rows, key: str) -> Rows:
    return sorted(rows, key=lambda row: row[key] or 0.0)


def _named(axes: Axes, rows: Rows) -> None:
    both = len({row["malloc"] for row in rows}) > 1
    name_rows(axes, [f"{row['impl']} ({row['malloc']})" if both else row["impl"] for row in rows], 32)


def _bars(axes: Axes, rows: Rows, values: list[float], label: str) -> None:
    ours = [SERIES[0] if row["impl"].startswith("spikeloom") else LIGHT["axis"] for row in rows]
    drawn = axes.barh(range(len(rows)), values, color=ours, height=0.62)
    axes.bar_label(drawn, [short(value) for value in values], padding=3, color=LIGHT["ink"], fontsize=10)
    axes.set_xlabel(label)
    axes.margins(x=0.18)
    _named(axes, rows)


def _ratios(axes: Axes, rows: Rows, label: str) -> None:
    axes.set_xscale("log")
    _bars(axes, rows, [row["vs_copy"] for row in rows], label)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), high * 2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _bytes(axes: Axes, rows: Rows, label: str) -> None:
    _bars(axes, rows, [row["saved_bytes_per_element_step"] for row in rows], label)


def _peaks(axes: Axes, rows: Rows, label: str) -> None:
    _bars(axes, rows, [row["peak_mib"] or 0.0 for row in rows], label)


def _stacked(axes: Axes, rows: Rows, label: str) -> None:
    colours = dict(zip(PARTS, (*SERIES[:3], LIGHT["axis"]), strict=True))
    left = [0.0] * len(rows)
    for kind in PARTS if any("where" in row for row in rows) else ():
        wide = [row["median_ms"] * row.get("where", {}).get(kind, 0.0) for row in rows]
        axes.barh(range(len(rows)), wide, left=left, color=colours[kind], height=0.62, label=kind)
        left = [a + b for a, b in zip(left, wide, strict=True)]
    drawn = axes.barh(range(len(rows)), [row["median_ms"] for row in rows], color="none" if any(left) else SERIES[0], height=0.62)
    axes.bar_label(drawn, [short(row["median_ms"]) for row in rows], padding=3, color=LIGHT["ink"], fontsize=10)
    axes.set_xlabel(label)
    axes.margins(x=0.18)
    _named(axes, rows)
    if any(left):
        legend(axes, 2)
