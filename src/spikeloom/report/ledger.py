"""The passes that made the conversion, in their order: what each touched, the scales it set, the error it left."""

from __future__ import annotations

from typing import Any

from spikeloom.report.markup import UNKNOWN, details, esc, note, section
from spikeloom.report.record import number

HEADS = ("pass", "nodes", "scales", "error against the ANN")


def ledger(record: dict[str, Any], prefix: str) -> str:
    """The section with one row per pass, or one line where none was recorded."""
    rows, title = record["conversion"].get("ledger") or [], "Passes of the conversion"
    if not rows:
        return section(f"{prefix}ledger", title, note("The record holds no passes."))
    top = "".join(f'<th scope="col"{" class=number" if head == HEADS[-1] else ""}>{head}</th>' for head in HEADS)
    body = "".join(_row(i, row) for i, row in enumerate(rows, 1))
    intro = "In their order. The error is that against the ANN after the pass; a dash where none was computed."
    table = f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    return section(f"{prefix}ledger", title, table, intro=intro)


def _row(index: int, row: dict[str, Any]) -> str:
    scales = row.get("scale") or {}
    names = "".join(f"<li>{esc(node)}</li>" for node in row["nodes"])
    nodes = details(f"{len(row['nodes'])} node{'s' * (len(row['nodes']) != 1)}", f'<ul class="chips">{names}</ul>') if names else "none"
    each = "".join(f"<li>{esc(node)}: {esc(span(scale))}</li>" for node, scale in scales.items())
    values = [value for scale in scales.values() for value in _values(scale)]
    set_to = details(span(values), f'<ul class="chips">{each}</ul>') if each else "–"
    error = number(row.get("error"))
    left = "–" if error is None else f"{error:.3g}"
    name = f'<th scope="row" class="pass">{index} {esc(row["pass"])}</th>'
    return f'<tr>{name}<td>{nodes}</td><td>{set_to}</td><td class="number">{left}</td></tr>'


def _values(scale: Any) -> list[float]:
    return [value for value in (scale if isinstance(scale, list) else [scale]) if number(value) is not None]


def span(scale: Any) -> str:
    """A scale, or the range of a channel's or of several nodes' scales."""
    values = _values(scale)
    if not values:
        return UNKNOWN
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
