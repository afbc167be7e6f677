"""What an experiment found: its numbers, and the pictures that its record describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import chart, legend, log_axis, name_rows
from spikeloom.report.markup import charts, esc, note, plain, section, settings, table
from spikeloom.report.record import number, series
from spikeloom.report.style import LIGHT, SERIES

STYLES = ("-", (0, (5, 1.8)), (0, (1.2, 1.2)))


def figures(record: dict[str, Any], prefix: str) -> str:
    """The section with the table of results and every figure of the record, or one line where there is none."""
    results, drawn = record.get("results") or {}, record.get("figures") or []
    parts = record.get("parts") or {}
    unfinished = parts and parts["done"] < parts["of"]
    intro = f"Not finished: {parts['done']} of {parts['of']} parts are done; `spikeloom train --resume` goes on." if unfinished else ""
    if not results and not drawn:
        return section(f"{prefix}results", "Results", note("The record holds no results."), intro=intro)
    numbers = settings({name.replace("_", " "): _written(value) for name, value in results.items()}, "Results")
    pictures = [DRAWN[figure["kind"]](f"{prefix}figure-{i}", figure) for i, figure in enumerate(drawn)]
    return section(f"{prefix}results", "Results", numbers, charts(*pictures), intro=intro)


def _written(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value


def _words(figure: Mapping[str, Any]) -> str:
    return f"{figure['title'].rstrip('.')}. {figure.get('caption', '')}".strip()


def _axes(figure: Figure, given: Mapping[str, Any]) -> Axes:
    axes = figure.subplots()
    axes.set_xlabel(given.get("x_label", ""))
    axes.set_ylabel(given.get("y_label", ""))
    return axes


def _lines(name: str, given: Mapping[str, Any]) -> str:
    def draw(figure: Figure) -> None:
        axes, lines = _axes(figure, given), given["series"]
        for i, line in enumerate(lines):
            look = {"color": SERIES[i % len(SERIES)], "linestyle": STYLES[i // len(SERIES) % len(STYLES)]}
            axes.plot(series(line["x"]), series(line["y"]), marker="o" if len(line["x"]) <= 12 else "", label=line["name"], **look)
        for axis, scale in ((axes.xaxis, given.get("x_scale")), (axes.yaxis, given.get("y_scale"))):
            if scale == "log":
                log_axis(axis)
        if len(lines) > 1:
            legend(axes, min(len(lines), 3))

    return chart(name, _words(given), draw)


def _raster(name: str, given: Mapping[str, Any]) -> str:
    groups = given["groups"]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
        for axes, group in zip(panels, groups, strict=True):
            times, neurons = zip(*group["points"], strict=True) if group["points"] else ((), ())
            axes.plot(times, neurons, "|", color=SERIES[0], ms=max(2.0, min(9.0, 180 / max(group["neurons"], 1))), mew=1.2)
            axes.set_ylim(group["neurons"] - 0.3, -0.7)
            axes.set_yticks([])
            axes.grid(False, axis="y")
            axes.set_title(f"{group['name']}, {group['neurons']} neurons")
        panels[-1].set_xlabel(given.get("x_label", "time"))

    return chart(name, _words(given), draw, 60 + 112 * len(groups))


def _histogram(name: str, given: Mapping[str, Any]) -> str:
    def draw(figure: Figure) -> None:
        axes = _axes(figure, given)
        for i, row in enumerate(given["series"]):
            axes.stairs(row["counts"], row["edges"], color=SERIES[i % len(SERIES)], label=row["name"], linewidth=1.8)
        if len(given["series"]) > 1:
            legend(axes, min(len(given["series"]), 3))

    return chart(name, _words(given), draw)


def _bars(name: str, given: Mapping[str, Any]) -> str:
    def draw(figure: Figure) -> None:
        axes = _axes(figure, given)
        axes.barh(range(len(given["names"])), series(given["values"]), height=0.68, color=SERIES[0])
        name_rows(axes, given["names"])

    return chart(name, _words(given), draw, 62 + 19 * max(len(given["names"]), 2))


def _image(name: str, given: Mapping[str, Any]) -> str:
    source = given["src"] if str(given["src"]).startswith("data:image/png;base64,") else "data:,"
    head, words = esc(given["title"].rstrip(".")), esc(given.get("caption", ""))
    picture = f'<img src="{esc(source)}" alt="{esc(given.get("alt", given["title"]))}" style="width:100%;border:1px solid {LIGHT["rule"]}">'
    return f'<figure class="chart" id="{esc(name)}">{picture}<figcaption><b>{head}.</b> {words}</figcaption></figure>'


def _table(name: str, given: Mapping[str, Any]) -> str:
    rows = [[_cell(value) for value in row] for row in given["rows"]]
    words = f"<figcaption>{esc(given['caption'])}</figcaption>" if given.get("caption") else ""
    return f'<figure class="chart" id="{esc(name)}">{table(given["columns"], rows, given["title"])}{words}</figure>'


def _cell(value: Any) -> str:
    return f"{value:.4g}" if number(value) is not None else plain(value)


# kind of a figure in the record: what draws it
DRAWN: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "lines": _lines, "raster": _raster, "histogram": _histogram, "bars": _bars, "image": _image, "table": _table,
}  # fmt: skip
