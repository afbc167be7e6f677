"""Rows of a comparison in text: which columns, how each is written, and runs that differ in their seed alone as one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from spikeloom.report.markup import plain

COLUMNS = (
    "recipe", "model_overrides", "method", "overrides", "runs", "params", "steps", "ann_accuracy", "accuracy_at_", "test",
    "steps_to_target", "validated", "last", "best", "synops_per_image", "energy_uJ", "seconds",
)  # fmt: skip
SHARES = ("accuracy_at_", "ann_accuracy", "test", "validated", "last", "best")


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `compare_rows`, those of the same run with other seeds merged, in the order of their first.

    A number becomes its mean; `runs` counts them and `spread` holds `{key: sample standard deviation}` of what differs. A number that one
    of them does not know is None.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(json.dumps(_same(row), sort_keys=True), []).append(row)
    return [_merged(group) for group in groups.values()]


def _same(row: Mapping[str, Any]) -> dict[str, Any]:
    """What two rows must share: all that was chosen, but for the seed."""
    chosen = {key: {k: v for k, v in (row.get(key) or {}).items() if k != "seed"} for key in ("overrides", "model_overrides")}
    return chosen | {key: row.get(key) for key in ("recipe", "method", "steps")}


def _merged(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = {**group[0], **_same(group[0])}
    found: dict[str, Any] = {"runs": len(group), "spread": {}}
    for key in first:
        values = [row.get(key) for row in group]
        if key == "steps" or not any(isinstance(v, int | float) for v in values):
            continue
        found[key] = None if None in values else fmean(values)  # type: ignore[arg-type]
        if None not in values and len(set(values)) > 1:
            found["spread"][key] = stdev(values)  # type: ignore[type-var]
    return {**first, **found}


def shown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that some row knows, in order."""
    known = {name: None for row in rows for name, value in row.items() if value not in (None, {}, [])}
    return [name for column in COLUMNS for name in known if name == column or (column.endswith("_") and name.startswith(column))]


def written(row: Mapping[str, Any], name: str) -> str:
    """A cell: an accuracy in percent, a spread after its mean, nothing for what the row does not know."""
    value, spread = row.get(name), (row.get("spread") or {}).get(name)
    if value in (None, {}, []):
        return ""
    if not isinstance(value, int | float):
        return plain(value)
    scale, digits = (100, ".2f") if name.startswith(SHARES) else (1, ".4g")
    text = f"{scale * value:{digits}}" if isinstance(value, float) else str(value)
    return text if spread is None else f"{text} ± {scale * spread:{digits if scale > 1 else '.2g'}}"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of what the rows know."""
    columns = shown(rows)
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(written(row, name) for name in columns)} |" for row in rows)]) + "\n"
