"""A matplotlib figure becomes an inline SVG that belongs to the page: its text, its colours, ids that no other chart has."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from spikeloom.report.markup import elide, esc
from spikeloom.report.style import LIGHT

LINEAR = 16  # most time steps on a linear axis
WIDTH = 440  # CSS pixels at scale 1: two charts fit a desk screen, one a phone
STYLE = {
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
ANN = {"color": LIGHT["muted"], "linestyle": (0, (5, 1.8)), "linewidth": 1.5}  # the line at an ANN's value
_TOKENS = {colour: token for token, colour in LIGHT.items()}
# a horizontal line, which most marks of a raster are
_LEVEL = re.compile(r"M ?(\S+) (\S+) ?L ?(\S+) \2(?= ?(?:M|$))")


def chart(name: str, caption: str, draw: Callable[[Figure], None], height: float = 260, width: float = WIDTH) -> str:
    """`<figure class="chart" id=name>`: what `draw` puts on the figure, and `caption` (plain text) that says it in words."""
    with matplotlib.style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg")
    head, _, rest = caption.partition(". ")
    words = f"<b>{esc(head)}.</b> {esc(rest)}" if rest else f"<b>{esc(head)}</b>"
    return f'<figure class="chart" id="{esc(name)}">{_inline(file.getvalue(), name, caption)}<figcaption>{words}</figcaption></figure>'


def _inline(svg: str, name: str, label: str) -> str:
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        element.text = element.text if element.tag == "text" else None
        given = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib = {key: value for key, old in given.items() if (value := _attribute(element.tag, key, old, name))}
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    root[:] = [kept for child in root for kept in _flat(child)]
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(tag: str, key: str, value: str, name: str) -> str:
    """An attribute for the inline SVG: ids carry the chart's name, colours are variables, coordinates have two decimals; "" drops it."""
    if key == "id":
        return f"{name}-{value}" if tag in ("path", "clipPath") else ""
    if key == "href" or value.startswith("url(#"):
        return value.replace("#", f"#{name}-")
    if key == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        return re.sub(r"#[0-9a-f]{6}", lambda found: f"var(--{_TOKENS[found[0]]})" if found[0] in _TOKENS else found[0], value)
    return "" if value.startswith("rotate(-0 ") else _rounded(value) if key in ("d", "x", "y", "transform") else value


def _flat(element: ElementTree.Element) -> list[ElementTree.Element]:
    """`element` without what is never seen: metadata, style sheets, groups that only nest, paths with neither fill nor stroke."""
    element[:] = [kept for child in element for kept in _flat(child)]
    if element.tag in ("metadata", "style") or element.get("style") == "fill: none":
        return []
    if element.tag == "defs":
        return [element] if len(element) else []
    return list(element) if element.tag == "g" and not element.attrib else [element]


def _rounded(text: str) -> str:
    text = re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
    return _LEVEL.sub(r"M\1 \2H\3", " ".join(text.split()))


def whole_steps(axes: Axes, label: str) -> None:
    """Whole-numbered x axis with few ticks."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.set_xlabel(label)


def steps_axis(axes: Axes, steps: int, label: str, linear: int = LINEAR) -> None:
    """X axis of time steps 1 ... `steps`: whole numbers, or powers of 2 on a logarithmic axis above `linear` steps."""
    if steps <= linear:
        return whole_steps(axes, label)
    axes.set_xscale("log", base=2)
    powers = [2**k for k in range(steps.bit_length())]
    axes.xaxis.set_major_locator(FixedLocator(powers[:: 1 + (len(powers) - 1) // 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(label)


def log_axis(axis: Axis) -> None:
    """Logarithmic, its ticks written as plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high > 300 * low else (1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Fractions shown as percentages, with decimals only where the range needs them."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = axis.get_view_interval()
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low > 0.05 else 1))


def legend(axes: Axes, columns: int) -> None:
    """A legend above the plot, from its left edge."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, borderpad=0)


def name_rows(axes: Axes, names: Sequence[str], length: int = 24) -> None:
    """One named row per layer, the first on top, and no grid across the rows."""
    axes.set_yticks(range(len(names)), [elide(name, length) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def bars_height(rows: int, each: float = 19) -> float:
    """Height in pixels of a chart with one bar per row."""
    return 62 + each * max(rows, 2)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """`values` moved apart, in their order and each as little as possible, so that labels beside them keep about `gap`."""
    order = sorted(range(len(values)), key=values.__getitem__)
    placed = list(values)
    for _ in range(10 * len(values)):
        for below, above in pairwise(order):
            push = max(0.0, gap - (placed[above] - placed[below])) / 2
            placed[below], placed[above] = placed[below] - push, placed[above] + push
    return placed
