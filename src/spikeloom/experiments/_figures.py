"""Pictures as a record holds them (docs/record.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor


def lines(
    title: str, caption: str, axes: tuple[str, str], series: Iterable[tuple[str, Sequence[float], Sequence[float]]], **scales: str
) -> dict[str, Any]:
    """Curves `(name, x, y)`; axes: the labels of x and y; scales: `x_scale`, `y_scale`, linear unless given."""
    curves = [{"name": name, "x": list(x), "y": list(y)} for name, x, y in series]
    kind = {"kind": "lines", "title": title, "caption": caption, "x_label": axes[0], "y_label": axes[1], "series": curves}
    return {"x_scale": "linear", "y_scale": "linear", **scales, **kind}


def table(title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {"kind": "table", "title": title, "caption": caption, "columns": list(columns), "rows": [list(row) for row in rows]}


def raster(title: str, caption: str, groups: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Spike times, ms, of groups of neurons that fire at most once; None: silent."""
    drawn = [
        {"name": name, "neurons": len(times), "points": [[t, i] for i, t in enumerate(times) if t is not None]}
        for name, times in groups.items()
    ]
    return {"kind": "raster", "title": title, "caption": caption, "x_label": "time, ms", "groups": drawn}


def listed(times: Tensor) -> list[list[float | None]]:
    """Rows of times as JSON holds them; None: no spike."""
    return [[value if math.isfinite(value) else None for value in row] for row in times.tolist()]
