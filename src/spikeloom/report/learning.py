"""How the run learned: accuracy and loss over the epochs, accuracy over the time steps."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import chart, legend, percent_axis, whole_steps
from spikeloom.report.markup import charts, note, percent, section
from spikeloom.report.record import column, number
from spikeloom.report.style import LIGHT, SERIES

# split: (label, colour, line style, width); the test split is the one that counts
SPLITS = {
    "train": ("training", SERIES[1], (0, (4, 1.6)), 1.6),
    "val": ("validation", SERIES[2], (0, (1.2, 1.2)), 1.8),
    "test": ("test", SERIES[0], "-", 2.2),
}


def learning(record: dict[str, Any], prefix: str) -> str:
    """The section with both curves and the accuracy per time step, or one line for what the record does not hold."""
    epochs = record.get("epochs") or []
    parts = [_accuracy(record, epochs, prefix), _loss(epochs, prefix), _by_step(record, prefix)]
    shown = zip(("accuracy per epoch", "loss per epoch", "accuracy per time step"), parts, strict=True)
    one_step = record.get("steps") == 1 and len(record.get("accuracy_by_step") or []) == 1  # nothing to draw, and nothing is missing
    missing = [name for name, part in shown if not part and not (one_step and name == "accuracy per time step")]
    left_out = note(f"The record holds no {', no '.join(missing)}: left out.") if missing else ""
    return section(f"{prefix}learning", "Learning", charts(*parts), left_out)


def known(values: list[float]) -> bool:
    """Whether there is anything to draw."""
    return any(math.isfinite(value) for value in values)


def curve(axes: Axes, epochs: list[dict[str, Any]], key: str, **look: Any) -> None:
    """`key` against the number of epochs trained; single epochs are marked while there are few of them."""
    axes.plot([epoch["epoch"] + 1 for epoch in epochs], column(epochs, key), marker="o" if len(epochs) <= 12 else "", **look)


def _curves(axes: Axes, epochs: list[dict[str, Any]], measure: str) -> None:
    shown = 0
    for split, (label, colour, style, width) in SPLITS.items():
        if known(column(epochs, f"{split}_{measure}")):
            curve(axes, epochs, f"{split}_{measure}", label=label, color=colour, linestyle=style, linewidth=width)
            shown += 1
    whole_steps(axes, "epochs trained")
    legend(axes, shown)


def picked(record: dict[str, Any]) -> int | None:
    """Position of the epoch that validation picked, if the record says so and has a test accuracy for it."""
    place, epochs = record.get("picked_epoch"), record.get("epochs") or []
    known_place = isinstance(place, int) and 0 <= place < len(epochs)
    return place if known_place and number(epochs[place].get("test_accuracy")) is not None else None


def _accuracy(record: dict[str, Any], epochs: list[dict[str, Any]], prefix: str) -> str:
    test = column(epochs, "test_accuracy")
    if not any(known(column(epochs, f"{split}_accuracy")) for split in SPLITS):
        return ""
    best = picked(record)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _curves(axes, epochs, "accuracy")
        if best is not None:
            axes.plot(epochs[best]["epoch"] + 1, test[best], "o", ms=10, mfc="none", mec=LIGHT["ink"], mew=1.4, zorder=5)
        percent_axis(axes)

    text = "Accuracy over the epochs."
    finite = [(value, -i) for i, value in enumerate(test) if math.isfinite(value)]
    if finite:
        top, where = max(finite)
        last = -min(place for _, place in finite)
        text += f" On the test set it peaks at {percent(top)} (epoch {epochs[-where]['epoch'] + 1}) and ends at {percent(test[last])}."
    if best is not None:
        text += f" The ring marks epoch {epochs[best]['epoch'] + 1}, the one validation picks."
    return chart(f"{prefix}accuracy-curve", text, draw)


def _loss(epochs: list[dict[str, Any]], prefix: str) -> str:
    splits = [split for split in SPLITS if known(column(epochs, f"{split}_loss"))]
    if not splits:
        return ""
    text = "Loss over the epochs."
    for split in splits:
        values = [value for value in column(epochs, f"{split}_loss") if math.isfinite(value)]
        change = f"goes from {values[0]:.3g} to {values[-1]:.3g}" if len(values) > 1 else f"is {values[0]:.3g}"
        text += f" {SPLITS[split][0].capitalize()} loss {change}."
    return chart(f"{prefix}loss-curve", text, lambda figure: _curves(figure.subplots(), epochs, "loss"))


def steps_to(values: list[float], share: float = 0.99) -> int:
    """The first number of steps whose accuracy is at least `share` of the last one's."""
    return next(i for i, value in enumerate(values, 1) if value >= share * values[-1])


def _by_step(record: dict[str, Any], prefix: str) -> str:
    values = [value for value in map(number, record.get("accuracy_by_step") or []) if value is not None]
    if not values or len(values) == 1 == record.get("steps"):
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(range(1, len(values) + 1), values, color=SERIES[0], marker="o" if len(values) <= 20 else "")
        whole_steps(axes, "time steps used, t")
        axes.set_ylabel("test accuracy")
        percent_axis(axes)

    text = (
        f"Test accuracy from the first t of {len(values)} time steps. One step gives {percent(values[0])}, all {len(values)} give "
        f"{percent(values[-1])}; 99% of that is reached at t\u00a0=\u00a0{steps_to(values)}."
    )
    return chart(f"{prefix}accuracy-by-step", text, draw)
