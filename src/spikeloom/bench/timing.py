"""Contenders take turns in shuffled order; a figure is a median over rounds, a ratio the median of the rounds' own ratios."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Run = Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """How long to measure. budget: seconds of measuring per contender, a slower one joins fewer rounds (but `least`);
    sample: seconds that one sample lasts at least, quick calls are repeated to fill it."""

    rounds: int = 9
    least: int = 3
    budget: float = 60.0
    sample: float = 0.005
    seed: int = 0


@dataclass(frozen=True)
class Timing:
    """Seconds per call, by round; `calls` is how many one sample averages over."""

    times: dict[int, float]
    calls: int

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.times.values())

    def over(self, unit: Timing) -> float:
        """Median of the ratios to `unit` within the rounds that both joined."""
        return statistics.median(seconds / unit.times[r] for r, seconds in self.times.items() if r in unit.times)


def interleaved(
    contenders: Mapping[str, Run], plan: Plan, *, now: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], object] = lambda: None, told: Callable[[str, int], object] = lambda name, calls: None,
) -> dict[str, Timing]:
    """Time every contender; the first is the unit of ratios and joins every round.

    synchronise: waits for the device. told: called after each sample.
    """

    def sample(run: Run, calls: int) -> float:
        synchronise()
        start = now()
        for _ in range(calls):
            run()
        synchronise()
        return (now() - start) / calls

    calls, joins = {}, {}
    for i, (name, run) in enumerate(contenders.items()):
        run()  # compiles, allocates
        warm = max(sample(run, 1), 1e-9)
        calls[name] = max(1, math.ceil(plan.sample / warm))
        count = plan.rounds if i == 0 else max(min(plan.least, plan.rounds), min(plan.rounds, int(plan.budget / (calls[name] * warm))))
        joins[name] = {k * plan.rounds // count for k in range(count)}
    times: dict[str, dict[int, float]] = {name: {} for name in contenders}
    order = random.Random(plan.seed)
    gc.collect()
    gc.freeze()  # what is there now is not looked at again: collecting between rounds is quick
    gc.disable()
    try:
        for r in range(plan.rounds):
            turn = [name for name in contenders if r in joins[name]]
            order.shuffle(turn)
            gc.collect()
            for name in turn:
                times[name][r] = sample(contenders[name], calls[name])
                told(name, calls[name])
    finally:
        gc.enable()
        gc.unfreeze()
    return {name: Timing(times[name], calls[name]) for name in contenders}
