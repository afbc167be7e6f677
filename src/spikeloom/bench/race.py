"""What neurons, layers and networks share: gates before clocks, progress, rows and the head of the record."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from spikeloom.bench.gate import Verdict
from spikeloom.bench.timing import Plan, Run, Timing, interleaved
from spikeloom.core.errors import ParameterError, SpikeloomError, refusal

SCHEMA = 1


@dataclass(frozen=True)
class Place:
    """Where and how a benchmark runs. malloc: what was done to the allocator of this process."""

    device: str = "cpu"
    threads: int = 1
    malloc: str = "untuned"
    plan: Plan = field(default_factory=Plan)
    show: bool = True

    @contextmanager
    def settled(self) -> Iterator[torch.device]:
        """The device, and inside the threads. Raises ParameterError for a device that is not there."""
        if self.threads < 1:
            raise ParameterError(refusal("bench --threads", self.threads, "a whole number of at least 1"))
        device = torch.device(self.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ParameterError(refusal("bench --device", self.device, "cpu here", "this torch sees no CUDA device"))
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield device
        finally:
            torch.set_num_threads(before)


class NotGreen(SpikeloomError):
    """A contender was to be timed that has not passed its gate."""


@dataclass
class Field:
    """The contenders of one benchmark, which of them may be timed, and who stays away for which reason."""

    verdicts: list[Verdict] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def judge(self, verdict: Verdict, told: Callable[[str], object]) -> bool:
        """Keep the verdict; whether it is green."""
        self.verdicts.append(verdict)
        told(f"gate {verdict.impl}: {'green' if verdict.passed else 'RED, not timed'}: {verdict.text}")
        if not verdict.passed:
            self.leave_out(verdict.impl, f"failed its gate: {verdict.text}", lambda text: None)
        return verdict.passed

    def leave_out(self, impl: str, reason: str, told: Callable[[str], object]) -> None:
        """Keep why `impl` is not among the results."""
        self.left_out.append({"impl": impl, "reason": reason})
        told(f"left out {impl}: {reason}")

    def race(self, runs: Mapping[str, Run], place: Place, title: str, plan: Plan | None = None) -> dict[str, Timing]:
        """Time `runs`, the first being the unit. Raises NotGreen unless every one has a green verdict."""
        green = {verdict.impl for verdict in self.verdicts if verdict.passed}
        for impl in runs:
            if impl not in green:
                raise NotGreen(f"{impl}: got no green gate; only what was found correct is timed")
        plan = plan or place.plan
        synchronise = torch.cuda.synchronize if torch.device(place.device).type == "cuda" else lambda: None
        with bar(title, plan.rounds * len(runs), place.show) as told:
            return interleaved(runs, plan, synchronise=synchronise, told=told)


def rows(timings: Mapping[str, Timing], which: str, place: Place) -> list[dict[str, Any]]:
    """One row of `results` per contender; the first is `copy`."""
    unit = next(iter(timings.values()))
    return [
        {
            "impl": impl, "pass": which, "malloc": place.malloc, "median_ms": t.median * 1e3, "best_ms": min(t.times.values()) * 1e3,
            "spread_ms": _spread(t) * 1e3, "vs_copy": t.over(unit), "rounds": len(t.times), "calls": t.calls,
            "times_ms": [t.times[r] * 1e3 if r in t.times else None for r in range(place.plan.rounds)],
        }
        for impl, t in timings.items()
    ]  # fmt: skip


def _spread(timing: Timing) -> float:
    """Half the distance between the quartiles."""
    if len(timing.times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(timing.times.values(), n=4)
    return (high - low) / 2


def head(bench: str, options: dict[str, Any], place: Place, field: Field) -> dict[str, Any]:
    """The part of the record that says what was run, and where; of files only their names."""
    from spikeloom.train.record import machine, versions

    options = {k: Path(v).name if k == "weights" and v else v for k, v in options.items() if k != "data_dir"}
    device = torch.cuda.get_device_name() if torch.device(place.device).type == "cuda" else "cpu"
    gates = [{"impl": v.impl, "passed": v.passed, "text": v.text} for v in field.verdicts]
    plan = {"rounds": place.plan.rounds, "budget_s": place.plan.budget, "sample_s": place.plan.sample}
    return {
        "schema": SCHEMA, "bench": bench, "options": options, "versions": versions() | field.versions, "machine": machine(),
        "threads": place.threads, "device": device, "malloc": place.malloc, "plan": plan, "gate": gates,
        "left_out": field.left_out,
    }  # fmt: skip


def short(value: float | None) -> str:
    """Three digits, for a table or a bar."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class bar:
    """A progress bar on stderr as a context that gives `told(name, calls)`; silent when not to be shown."""

    def __init__(self, title: str, total: int, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        words = TextColumn("{task.description}"), TextColumn("{task.fields[last]}")
        columns = words[0], BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), words[1]
        self.progress = Progress(*columns, console=Console(stderr=True), disable=not show)
        self.task = self.progress.add_task(title, total=total, last="warming up")

    def __enter__(self) -> Callable[[str, int], None]:
        self.progress.start()
        return lambda name, calls: self.progress.update(self.task, advance=1, last=name)

    def __exit__(self, *error: object) -> None:
        self.progress.update(self.task, last="")
        self.progress.stop()
