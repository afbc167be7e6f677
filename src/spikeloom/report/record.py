"""Reading a run record and refusing one that the pages could not show."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeloom.core.errors import RecordError, refusal

SCHEMA = 1
ADVICE = "make one with `spikeloom train RECIPE --out DIR`"

_REQUIRED = ("recipe", "params", "steps", "accuracy")
_OBJECTS = {
    "accuracy": (),
    "overrides": (),
    "network": (),
    "paper": ("key", "title", "authors", "venue", "year"),
    "claim": (),
    "versions": (),
    "machine": (),
    "data": (),
    "training": (),
    "results": (),
    "options": (),
    "parts": ("done", "of"),
}
_LISTS = {
    "epochs": ("epoch",),
    "layers": ("name", "neurons", "rate", "silent", "saturated", "dormant"),
    "operations": ("name", "macs", "acs", "analog_macs"),
    "samples": ("image", "label", "prediction", "layers"),
    "figures": ("kind", "title"),
}
# what a figure of each kind holds
FIGURES = {
    "lines": ("series",), "raster": ("groups",), "histogram": ("series",), "bars": ("names", "values"), "image": ("src",),
    "table": ("columns", "rows"),
}  # fmt: skip
_SHOWN = ("name", "neurons", "spikes", "traces")
_CONVERT = "make one with `spikeloom convert`"


def read(folder: Path | str) -> dict[str, Any]:
    """The checked record of a run folder (or of a record file itself).

    Raises:
        RecordError: no such file, not JSON, or not a record of this schema; names the file and the command that makes one.
    """
    path = Path(folder)
    path = path if path.suffix == ".json" else path / "record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; expected a run record; {ADVICE}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"{path}: cannot be read as JSON ({error}); expected a run record; {ADVICE}") from None
    return check(record, str(path))


def check(record: Any, name: str) -> dict[str, Any]:
    """`record` if it has this schema and the fields the pages rest on, RecordError otherwise; `name` is what to call it."""
    if not isinstance(record, dict):
        raise RecordError(refusal(name, type(record).__name__, "a JSON object", ADVICE))
    schema = record.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise RecordError(refusal(f"{name}: schema", schema, f"{SCHEMA}", f"a newer spikeloom wrote it: update spikeloom, or {ADVICE}"))
    if schema != SCHEMA or isinstance(schema, bool):
        raise RecordError(refusal(f"{name}: schema", schema, f"{SCHEMA}", ADVICE))
    _fields(record, _REQUIRED, name)
    for key, keys in _OBJECTS.items():
        if record.get(key) is not None or key in _REQUIRED:
            _fields(record[key], keys, f"{name}: {key}")
    for key, keys in _LISTS.items():
        _entries(record, key, keys, f"{name}: ")
    for i, sample in enumerate(record.get("samples") or []):
        _entries(sample, "layers", _SHOWN, f"{name}: samples[{i}].")
    for i, figure in enumerate(record.get("figures") or []):
        _must(figure["kind"] in FIGURES, f"{name}: figures[{i}].kind", figure["kind"], f"one of {', '.join(FIGURES)}")
        _fields(figure, FIGURES[figure["kind"]], f"{name}: figures[{i}]")
    if record.get("conversion") is not None:
        _conversion(record, name)
    return record


def _conversion(record: dict[str, Any], name: str) -> None:
    """Refuse a conversion object whose fields are missing, of another type or of another length than T."""
    made, where, steps = record["conversion"], f"{name}: conversion", record["steps"]
    _fields(made, ("method", "input", "model", "ann_accuracy"), where)
    for key in ("method", "input", "model"):
        _must(isinstance(made[key], str), f"{where}.{key}", made[key], "text")
    _must(_is_fraction(made["ann_accuracy"]), f"{where}.ann_accuracy", made["ann_accuracy"], "a fraction between 0 and 1")
    _must(isinstance(made.get("options"), dict | None), f"{where}.options", made.get("options"), "a JSON object or null")
    target, reached = made.get("target"), made.get("steps_to_target")
    _must(target is None or _is_fraction(target), f"{where}.target", target, "a fraction between 0 and 1 or null")
    _must(type(steps) is int and steps > 0, f"{name}: steps", steps, "a whole number above 0")
    whole = reached is None or (type(reached) is int and 1 <= reached <= steps)
    _must(whole, f"{where}.steps_to_target", reached, f"a whole number from 1 to T = {steps} or null")
    _series(record, "accuracy_by_step", steps, f"{name}: ")
    for key in ("synops", "energy_uJ"):
        _series(made, key, steps, f"{where}.")
    for i, layer in enumerate(record.get("layers") or []):
        _series(layer, "relative_error", steps, f"{name}: layers[{i}].")
    _entries(made, "early_exit", ("confidence", "accuracy", "mean_steps"), f"{where}.")
    _entries(made, "ledger", ("pass", "nodes"), f"{where}.")
    for i, row in enumerate(made.get("ledger") or []):
        _row(row, f"{where}.ledger[{i}].")


def _row(row: dict[str, Any], where: str) -> None:
    """Refuse a row of the ledger whose nodes are no list, or whose scales are not numbers by node."""
    _must(isinstance(row["nodes"], list), f"{where}nodes", row["nodes"], "a JSON list")
    scales = row.get("scale")
    _must(isinstance(scales, dict | None), f"{where}scale", scales, "a JSON object or null")
    for node, scale in (scales or {}).items():
        numbers = all(map(_is_number, scale if isinstance(scale, list) else [scale]))
        _must(numbers, f"{where}scale[{node!r}]", scale, "a number or a JSON list of numbers")


def _series(holder: dict[str, Any], key: str, steps: int, where: str) -> None:
    values = holder.get(key)
    _must(isinstance(values, list | None), f"{where}{key}", values, "a JSON list of numbers")
    for i, value in enumerate(values or []):
        _must(value is None or _is_number(value), f"{where}{key}[{i}]", value, "a number or null")
    _must(len(values or []) in (0, steps), f"{where}{key}", f"{len(values or [])} values", f"one value for each of T = {steps} steps")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _must(right: bool, what: str, given: Any, allowed: str) -> None:
    if not right:
        raise RecordError(refusal(what, given, allowed, _CONVERT))


def _entries(holder: dict[str, Any], key: str, keys: tuple[str, ...], where: str) -> None:
    entries = holder.get(key)
    if not isinstance(entries, list | None):
        raise RecordError(refusal(f"{where}{key}", type(entries).__name__, "a JSON list", ADVICE))
    for i, entry in enumerate(entries or []):
        _fields(entry, keys, f"{where}{key}[{i}]")


def _fields(entry: Any, keys: Sequence[str], what: str) -> None:
    if not isinstance(entry, dict):
        raise RecordError(refusal(what, type(entry).__name__, "a JSON object", ADVICE))
    missing = [key for key in keys if key not in entry]
    if missing:
        raise RecordError(f"{what}: missing {', '.join(missing)}; expected a run record of schema {SCHEMA}; {ADVICE}")


def number(value: Any) -> float | None:
    """A finite number, or None: JSON null, NaN and infinities all mean "not known"."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def column(rows: list[dict[str, Any]], key: str) -> list[float]:
    """`key` of every row for plotting; NaN where it is not known."""
    return series([row.get(key) for row in rows])


def series(values: Sequence[Any] | None) -> list[float]:
    """`values` for plotting; NaN where one is not known, empty where there are none."""
    known = map(number, values or [])
    return [math.nan if value is None else value for value in known]


def mean_rate(record: dict[str, Any]) -> float | None:
    """Mean output per neuron and step over the whole network, each layer weighted by its neurons."""
    layers = [layer for layer in record.get("layers") or [] if number(layer["rate"]) is not None]
    neurons = sum(layer["neurons"] for layer in layers)
    return sum(layer["rate"] * layer["neurons"] for layer in layers) / neurons if neurons else None


def put(path: Path, text: str) -> Path:
    """Write `text` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
