"""An experiment that is not one fit: cross-validation, a plastic network, an approximation. It is a list of parts, each saved when done."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeloom.core.errors import RecipeError, RecordError
from spikeloom.core.paper import Paper
from spikeloom.core.params import nearest
from spikeloom.train import record
from spikeloom.train.run import Claim, read_as

PARTS = "parts"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A frozen value like `Run`; the fields that a subclass adds, and `seed`, are what an override can name.

    A subclass gives `parts`, `run` and `summarise`. A part may read what earlier parts left in the folder, so parts run in order.
    """

    recipe: str
    title: str
    paper: Paper
    data: str = "none"
    claim: Claim | None = None
    minutes: float = 0.0
    machine: str = "2 CPU cores"
    failure: str | None = None
    seed: int = 0

    def parts(self) -> list[str]:
        """Names of the parts, in order; each names a file."""
        raise NotImplementedError

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Callable[[float], None]) -> dict[str, Any]:
        """What one part gave, as JSON values. `advance(share)` says how much of it is done, 0 to 1. It may leave files in `folder`."""
        raise NotImplementedError

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        """Keys of the record from the parts done so far: `accuracy`, `results`, `figures`, `params` ... (docs/record.md)."""
        raise NotImplementedError


def options(experiment: Experiment) -> dict[str, Any]:
    """Every field that an override can name, with its present value."""
    fixed = {f.name for f in dataclasses.fields(Experiment)} - {"seed"}
    return {f.name: getattr(experiment, f.name) for f in dataclasses.fields(experiment) if f.name not in fixed}


def override(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """`experiment` with fields replaced; strings are read as the field's type. Raises RecipeError for an unknown field or a bad value."""
    known, values = options(experiment), {}
    for name, value in changes.items():
        if name not in known:
            raise RecipeError(f"{experiment.recipe}: no field {name!r}; {nearest(name, known)}")
        values[name] = read_as(f"{experiment.recipe}.{name}", value, known[name])
    return dataclasses.replace(experiment, **values)


def perform(
    experiment: Experiment, out: Path, data_dir: str | None = None, resume: str = "never", overrides: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Run every part that `out` does not hold yet and return the record, which is written after each part.

    resume: as for `fit`. Raises RecordError when `out` holds a run and resume is `"never"`, or holds another run.
    """
    head = record.head(experiment, overrides or {}, experiment.seed) | {"options": record.plain(options(experiment))}
    record.claim(out, head, resume, ("recipe", "options"))
    names = experiment.parts()
    results: dict[str, dict[str, Any]] = {}
    final = _recorded(experiment, head, results, out)
    with _progress(experiment.title, len(names)) as show:
        for done, name in enumerate(names):
            file = out / PARTS / f"{name}.json"
            if not file.exists():
                started = time.perf_counter()
                found = experiment.run(name, out, data_dir, lambda share, done=done: show(done + share))
                record.write({**found, "seconds": time.perf_counter() - started}, file)
            results[name] = json.loads(file.read_text())
            show(done + 1.0)
            final = _recorded(experiment, head, results, out)
    return final


def _recorded(experiment: Experiment, head: dict[str, Any], results: dict[str, dict[str, Any]], out: Path) -> dict[str, Any]:
    nothing = {"accuracy": dict.fromkeys(("last", "best", "validated", "test")), "params": 0, "steps": 1, "results": {}, "figures": []}
    given = experiment.summarise(results, out) if results else {}
    given["accuracy"] = nothing["accuracy"] | given.get("accuracy", {})
    seconds = sum(result["seconds"] for result in results.values())
    parts = {"done": len(results), "of": len(experiment.parts())}
    found = {**head, **nothing, **given, "parts": parts, "seconds": seconds}
    record.write(found, out / "record.json")
    return found


@contextmanager
def _progress(title: str, parts: int) -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=parts)
        yield lambda done: progress.update(task, completed=done)


def papers(experiment: Experiment) -> list[Paper]:
    """Every publication that the experiment rests on: its own and that of its data."""
    from spikeloom import data

    return list(dict.fromkeys([experiment.paper, *([data.known[experiment.data].paper] if experiment.data in data.known else [])]))


def refuse(run: Any, command: str) -> None:
    """Raise RecordError where `command` needs one trained network and `run` is an experiment."""
    if isinstance(run, Experiment):
        raise RecordError(f"{command}: {run.recipe} is an experiment, not one network; its results are in the record of `spikeloom train`")
