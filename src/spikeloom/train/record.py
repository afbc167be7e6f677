"""The run record: one JSON file that says what was run, on what, and what came out. Schema in docs/record.md."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeloom.core.errors import RecordError
from spikeloom.core.params import Choice
from spikeloom.train.run import Run

SCHEMA = 1


def head(run: Any, overrides: dict[str, Any], seed: int) -> dict[str, Any]:
    """What every record says about its run or experiment."""
    claim = dataclasses.asdict(run.claim) if run.claim else None
    return {
        "schema": SCHEMA, "recipe": run.recipe, "overrides": overrides, "title": run.title, "paper": dataclasses.asdict(run.paper),
        "claim": claim, "versions": versions(), "machine": machine(), "seed": seed, "failure": run.failure,
    }  # fmt: skip


def describe(run: Run, overrides: dict[str, Any]) -> dict[str, Any]:
    """The part of a run's record that is known before training."""
    return {
        **head(run, overrides, run.training.seed), "steps": run.steps, "encoder": run.encoder,
        "network": {"function": run.network.function, "options": dict(run.network.options)},
        "training": dataclasses.asdict(run.training), "augment": list(run.data.augment),
        "frames": None if run.data.frames == "none" else run.data.frames,
    }  # fmt: skip


def claim(out: Path, head: dict[str, Any], resume: str, same: Sequence[str], also: str = "record.json") -> None:
    """Make the folder `out` the run's own: refuse one that holds a run (its record or the file `also`), or, resuming, another run.

    same: keys of the record that make two runs the same.
    """
    Choice(("never", "allowed")).check("resume", resume)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "record.json").exists() and not (out / also).exists():
        return
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    if resume == "never":
        raise RecordError(f"{out} holds a run already; add --resume to go on with it, or give another --out")
    if (out / "record.json").exists():
        old = read(out)
        differing = [key for key in same if plain(old.get(key)) != plain(head[key])]
        if differing:
            advice = "give the same recipe and overrides, or another --out"
            raise RecordError(f"{out} holds another run ({', '.join(differing)} differ); {advice}")


def write(record: dict[str, Any], path: Path) -> None:
    """Write `record` as JSON to `path`, atomically; one line for each key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(temporary, path)


def read(folder: Path) -> dict[str, Any]:
    """The record of a run folder. Raises RecordError when there is none or it is of another schema."""
    path = folder / "record.json"
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(f"{path}: no such file; make one with `spikeloom train RECIPE --out {folder}`") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not JSON ({error}); train again or restore the file") from None
    if record.get("schema") != SCHEMA:
        raise RecordError(f"{path}: schema {record.get('schema')!r}; this version reads schema {SCHEMA}")
    return record


def plain(value: Any) -> Any:
    """`value` as JSON gives it back (tuples become lists)."""
    return json.loads(json.dumps(value))


def machine() -> dict[str, Any]:
    """Processor, threads and device of this process."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        name = next((line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")), name)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"cpu": name, "threads": torch.get_num_threads(), "device": device}


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import importlib.metadata

    import torch

    return {
        "spikeloom": importlib.import_module("spikeloom").__version__, "torch": torch.__version__, "python": platform.python_version(),
        "lightning": importlib.metadata.version("lightning"),
    }  # fmt: skip
