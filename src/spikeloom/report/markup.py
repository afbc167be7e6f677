"""Small pieces of HTML and the way numbers are written. Every text goes through `esc`; what takes HTML says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from spikeloom.report.record import number
from spikeloom.report.style import CSS

UNKNOWN = "n/a"


def esc(value: Any) -> str:
    """Text made safe for element content and attributes."""
    return escape(str(value), quote=True)


def percent(value: Any, digits: int = 2) -> str:
    """A fraction as a percentage."""
    value = number(value)
    return UNKNOWN if value is None else f"{100 * value:.{digits}f}%"


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    value = number(value)
    return UNKNOWN if value is None else f"{value:,.0f}"


def short(value: Any) -> str:
    """Three significant digits with k, M or G."""
    value = number(value)
    if value is None:
        return UNKNOWN
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{_three(value / size)} {letter}"
    return _three(value)


def energy(microjoule: Any) -> str:
    """An energy given in µJ, in the unit that reads best."""
    value = number(microjoule)
    if value is None:
        return UNKNOWN
    for size, unit in ((1e6, "J"), (1e3, "mJ"), (1, "µJ")):
        if abs(value) >= 0.9995 * size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(1000 * value)} nJ"


def _three(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}" if size >= 0.01 else f"{value:.3g}"


def duration(seconds: Any) -> str:
    """Seconds as hours, minutes and seconds."""
    value = number(seconds)
    if value is None:
        return UNKNOWN
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def elide(name: str, length: int) -> str:
    """`name` cut in the middle to at most `length` characters."""
    head = (length - 1) // 2
    return name if len(name) <= length else f"{name[:head].rstrip('.')}…{name[head + 1 - length :].lstrip('.')}"


def note(text: str) -> str:
    """One line that says why something is not here."""
    return f'<p class="note">{esc(text)}</p>'


def section(name: str, title: str, *parts: str, intro: str = "") -> str:
    """A titled section; `parts` are HTML."""
    lead = f'<p class="intro">{esc(intro)}</p>' if intro else ""
    return f'<section id="{esc(name)}"><h2>{esc(title)}</h2>{lead}{"".join(parts)}</section>'


def charts(*figures: str) -> str:
    """Figures side by side where there is room; `figures` are HTML, empty ones are dropped."""
    return f'<div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def tiles(rows: Iterable[tuple[str, str, str]], kind: str = "") -> str:
    """Headline numbers: (name, value, what it means). The first of the large ones is the one to quote."""
    cells = (
        f'<div{"" if i or kind else " class=first"}><dt>{esc(name)}</dt>'
        f'<dd class="value">{esc(value)}</dd><dd class="means">{esc(means)}</dd></div>'
        for i, (name, value, means) in enumerate(rows)
    )
    return f'<dl class="tiles {kind}">{"".join(cells)}</dl>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table whose first column names the row and whose others are numbers; wide ones scroll inside their own box."""
    top = "".join(f'<th scope="col"{" class=number" if i else ""}>{esc(head)}</th>' for i, head in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row">{esc(row[0])}</th>{"".join(f"<td class=number>{esc(cell)}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    title = f"<caption>{esc(caption)}</caption>" if caption else ""
    return f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str) -> str:
    """A closed fold; `body` is HTML."""
    return f"<details><summary>{esc(summary)}</summary>{body}</details>"


def settings(rows: Mapping[str, Any], caption: str) -> str:
    """Names and values, two columns."""
    body = "".join(f'<tr><th scope="row">{esc(name)}</th><td>{esc(plain(value))}</td></tr>' for name, value in rows.items())
    return f'<table class="settings"><caption>{esc(caption)}</caption><tbody>{body}</tbody></table>' if body else ""


def plain(value: Any) -> str:
    """A JSON value as a reader would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def document(title: str, body: str, script: str = "") -> str:
    """The whole page around `body` (HTML)."""
    code = f"<script>{script}</script>" if script else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{esc(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="generator" content="spikeloom">'
        f'<link rel="icon" href="data:,"><style>{CSS}</style></head>\n<body><main>{body}</main>{code}</body></html>\n'
    )
