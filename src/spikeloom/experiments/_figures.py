"""Pictures as a record holds them (docs/record.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

BINS = 52  # of a histogram of spike times


def lines(
    title: str, caption: str, axes: tuple[str, str], series: Iterable[tuple[str, Sequence[float], Sequence[float]]], **scales: str
) -> dict[str, Any]:
    """Curves `(name, x, y)`; axes: the labels of x and y; scales: `x_scale`, `y_scale`, linear unless given."""
    curves = [{"name": name, "x": list(x), "y": list(y)} for name, x, y in series]
    kind = {"kind": "lines", "title": title, "caption": caption, "x_label": axes[0], "y_label": axes[1], "series": curves}
    return {"x_scale": "linear", "y_scale": "linear", **scales, **kind}


def table(title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows of as many cells as there are columns, texts or numbers."""
    return {"kind": "table", "title": title, "caption": caption, "columns": list(columns), "rows": [list(row) for row in rows]}


def raster(title: str, caption: str, groups: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Spike times, ms, of groups of neurons that fire at most once; None: silent."""
    drawn = [
        {"name": name, "neurons": len(times), "points": [[t, i] for i, t in enumerate(times) if t is not None]}
        for name, times in groups.items()
    ]
    return {"kind": "raster", "title": title, "caption": caption, "x_label": "time, ms", "groups": drawn}


def counted(times: Tensor, end: float) -> dict[str, Any]:
    """Of the spike times of a layer: `counts` in `BINS` equal bins from 0 to `end`, those outside in the first or the last, and `of` how
    many neurons and samples."""
    fired = times[times.isfinite()].clamp(0, end)
    return {"counts": torch.histc(fired, BINS, 0, end).int().tolist(), "end": end, "of": times.numel()}


def times_histogram(caption: str, layers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """When the neurons of each layer fire, from what `counted` found of it, one or several times."""
    series = []
    for name, found in layers.items():
        edges = torch.linspace(0, found[0]["end"], BINS + 1, dtype=torch.float64).tolist()
        counts = torch.tensor([f["counts"] for f in found], dtype=torch.float64).sum(0) / max(sum(f["of"] for f in found), 1)
        series.append({"name": name, "edges": edges, "counts": counts.tolist()})
    words = {"title": "When the neurons fire", "caption": f"{caption} Later spikes count in the last bin, silent neurons nowhere."}
    return {"kind": "histogram", **words, "x_label": "time, ms", "y_label": "share of neurons and samples", "series": series}


def listed(times: Tensor) -> list[list[float | None]]:
    """Rows of times as JSON holds them; None: no spike."""
    return [[value if math.isfinite(value) else None for value in row] for row in times.tolist()]
