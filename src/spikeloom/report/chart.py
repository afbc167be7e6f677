"""A matplotlib figure becomes an inline SVG that belongs to the page: its text, its colours, ids that no other chart has."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from spikeloom.report.markup import elide, esc
from spikeloom.report.style import LIGHT

WIDTH = 440  # CSS pixels at scale 1: two charts fit a desk screen, one a phone
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11.5,
    "text.color": LIGHT["ink"],
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LIGHT["axis"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": 11.5,
    "axes.titlesize": 11.5,
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.03,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.9,
    "xtick.color": LIGHT["axis"],
    "ytick.color": LIGHT["axis"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.4,
}
_COORDINATES = re.compile(r'(?<= )(d|x|y|transform)="([^"]*)"')
_LEVEL = re.compile(r"M ?(\S+) (\S+) ?L ?(\S+) \2(?= ?(?:M|$))")


def chart(name: str, caption: str, draw: Callable[[Figure], None], height: float = 260, width: float = WIDTH) -> str:
    """`<figure class="chart" id=name>`: what `draw` puts on the figure, and `caption` (plain text) that says it in words."""
    with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg")
    head, _, rest = caption.partition(". ")
    words = f"<b>{esc(head)}.</b> {esc(rest)}" if rest else f"<b>{esc(head)}</b>"
    return f'<figure class="chart" id="{esc(name)}">{_inline(file.getvalue(), name, caption)}<figcaption>{words}</figcaption></figure>'


def _inline(svg: str, name: str, label: str) -> str:
    box = re.search(r'viewBox="([^"]*)"', svg)
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r"<defs>\s*</defs>", "", body).replace("xlink:href=", "href=")
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font-family: [^;\"]*;? ?|transform=\"rotate\(-0 [^\"]*\"", "", body)
    body = _COORDINATES.sub(lambda found: f'{found[1]}="{_rounded(found[2])}"', body)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{esc(name)}-\1"', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{esc(name)}-", body)
    for token, colour in LIGHT.items():
        body = body.replace(f": {colour}", f": var(--{token})")
    body = re.sub(r">\s+<", "><", body)
    return f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{esc(label)}">{body.strip()}'


def _rounded(text: str) -> str:
    text = re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
    return _LEVEL.sub(r"M\1 \2H\3", " ".join(text.split()))


def whole_steps(axes: Axes, label: str) -> None:
    """Whole-numbered x axis with few ticks."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.set_xlabel(label)


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Fractions shown as percentages, with decimals only where the range needs them."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = axis.get_view_interval()
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low > 0.05 else 1))


def legend(axes: Axes, columns: int) -> None:
    """A legend above the plot, from its left edge."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, borderpad=0)


def name_rows(axes: Axes, names: Sequence[str], length: int = 20) -> None:
    """One named row per layer, the first on top, and no grid across the rows."""
    axes.set_yticks(range(len(names)), [elide(name, length) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def bars_height(rows: int, each: float = 19) -> float:
    """Height in pixels of a chart with one bar per row."""
    return 62 + each * max(rows, 2)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """`values` moved apart so that labels beside them keep `gap`, order kept and the middle of the group held."""
    order = sorted(range(len(values)), key=values.__getitem__)
    placed = list(values)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    shift = sum(placed[i] - values[i] for i in order) / max(len(order), 1)
    return [value - shift for value in placed]
