"""Operations and energy of the run against the same network with ReLU.

The prices of one MAC and one accumulate are read back from the record's own totals, so that the bars always add up to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeloom.report.chart import bars_height, chart, legend, name_rows
from spikeloom.report.markup import charts, details, energy, esc, note, section, short, table
from spikeloom.report.record import number
from spikeloom.report.style import LIGHT, SERIES

PICO_PER_MICRO = 1e6


@dataclass(frozen=True)
class Prices:
    """Energy of one operation, pJ."""

    mac: float
    accumulate: float


def prices(record: dict[str, Any]) -> Prices | None:
    """The prices that the record's totals imply, or None where they cannot be told."""
    spiking, dense = number(record.get("energy_uJ")), number(record.get("ann_energy_uJ"))
    macs, accumulates, analog = (_total(record, key) for key in ("macs", "acs", "analog_macs"))
    if spiking is None or dense is None or not macs:
        return None
    mac = dense * PICO_PER_MICRO / macs
    left = spiking * PICO_PER_MICRO - mac * analog
    if accumulates:
        return Prices(mac, left / accumulates) if left >= 0 else None
    return Prices(mac, 0.0)


def _total(record: dict[str, Any], key: str) -> float:
    return sum(number(row[key]) or 0.0 for row in record.get("operations") or [])


def operations(record: dict[str, Any], prefix: str) -> str:
    """The section with the totals, the bars per layer, the formula and the table."""
    rows, price = record.get("operations") or [], prices(record)
    formula = record.get("energy_formula")
    parts = [f'<p class="formula"><code>{esc(formula)}</code></p>'] if formula else []
    if price:
        costs = f"{price.mac:.3g} pJ for a multiply-accumulate (MAC), {price.accumulate:.3g} pJ for an accumulate (AC)"
        text = f"Prices that the record's totals imply: {costs}. The estimate counts arithmetic only, not memory traffic."
        parts.append(f'<p class="intro">{esc(text)}</p>')
        parts += [charts(_totals(record, price, prefix)), charts(_per_layer(rows, price, prefix), _counts(rows, prefix))]
    else:
        parts.append(note("The record holds no operations with energies; the energy charts are left out."))
    if rows:
        cells = [[row["name"], row.get("kind", ""), *(short(row[key]) for key in ("macs", "acs", "analog_macs"))] for row in rows]
        heads = ("layer", "kind", "MACs, ReLU network", "ACs, all steps", "MACs on analog input")
        parts.append(details("The numbers", table(heads, cells, "Operations per image")))
    intro = "Per image, against the same network with ReLU in place of every neuron and a single pass."
    return section(f"{prefix}energy", "Operations and energy", *parts, intro=intro)


def _totals(record: dict[str, Any], price: Prices, prefix: str) -> str:
    spiking, dense = record["energy_uJ"], record["ann_energy_uJ"]
    analog = price.mac * _total(record, "analog_macs") / PICO_PER_MICRO

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.barh(0, analog, height=0.55, color=SERIES[1], label="MACs on analog input")
        axes.barh(0, spiking - analog, left=analog, height=0.55, color=SERIES[0], label="accumulates")
        axes.barh(1, dense, height=0.55, color=LIGHT["relu"])
        for row, value in enumerate((spiking, dense)):
            axes.annotate(energy(value), (value, row), (5, 0), textcoords="offset points", va="center")
        name_rows(axes, ("spiking", "ReLU"))
        axes.margins(x=0.2)
        axes.set_xlabel("µJ per image")
        legend(axes, 2)

    compared = f", {100 * spiking / dense:.3g}% of the {energy(dense)} with ReLU" if dense else ""
    text = f"Energy of one image. {energy(spiking)} estimated{compared}; {energy(analog)} of it are multiplications on analog input."
    return chart(f"{prefix}energy-total", text, draw, 190)


def _paired(axes: Axes, rows: list[dict[str, Any]], spiking: list[float], dense: list[float], label: str) -> None:
    places = range(len(rows))
    axes.barh([place - 0.2 for place in places], spiking, height=0.38, color=SERIES[0], label="spiking")
    axes.barh([place + 0.2 for place in places], dense, height=0.38, color=LIGHT["relu"], label="ReLU")
    name_rows(axes, [row["name"] for row in rows])
    axes.set_xlabel(label)
    legend(axes, 2)


def _per_layer(rows: list[dict[str, Any]], price: Prices, prefix: str) -> str:
    def of(row: dict[str, Any], key: str) -> float:
        return (number(row[key]) or 0.0) / PICO_PER_MICRO

    spiking = [price.mac * of(row, "analog_macs") + price.accumulate * of(row, "acs") for row in rows]
    dense = [price.mac * of(row, "macs") for row in rows]
    dearest = max(range(len(rows)), key=spiking.__getitem__)
    more = sum(ours > theirs for ours, theirs in zip(spiking, dense, strict=True))
    text = f"Energy by layer. The dearest spiking layer is {rows[dearest]['name']} ({energy(spiking[dearest])}); " + (
        f"{more} of {len(rows)} layers cost more than with ReLU." if more else "none costs more than with ReLU."
    )
    height = bars_height(len(rows), 24)
    return chart(f"{prefix}energy-layers", text, lambda figure: _paired(figure.subplots(), rows, spiking, dense, "µJ per image"), height)


def _counts(rows: list[dict[str, Any]], prefix: str) -> str:
    spiking = [(number(row["acs"]) or 0.0) / 1e6 for row in rows]
    dense = [(number(row["macs"]) or 0.0) / 1e6 for row in rows]
    text = (
        f"Operations by layer. {short(1e6 * sum(spiking))} accumulates over all time steps against {short(1e6 * sum(dense))} MACs "
        "of one pass with ReLU."
    )

    def draw(figure: Figure) -> None:
        _paired(figure.subplots(), rows, spiking, dense, "million operations per image")

    return chart(f"{prefix}operations", text, draw, bars_height(len(rows), 24))
