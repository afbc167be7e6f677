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
}
_LISTS = {
    "epochs": ("epoch",),
    "layers": ("name", "neurons", "rate", "silent", "saturated", "dormant"),
    "operations": ("name", "macs", "acs", "analog_macs"),
    "samples": ("image", "label", "prediction", "layers"),
}
_SHOWN = ("name", "neurons", "spikes", "traces")


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
    return record


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
    values = (number(row.get(key)) for row in rows)
    return [math.nan if value is None else value for value in values]


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
