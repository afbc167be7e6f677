"""Firing times by plain Python in float64, one neuron at a time: the smallest candidate that its own causal set explains."""

import math


def firing_time(times: list[float], weights: list[float], threshold: float) -> tuple[float, float]:
    """The time and the slope there; infinity and 0 for a neuron that never fires."""
    arrivals = sorted((t, w) for t, w in zip(times, weights, strict=True) if t < math.inf)
    for k in range(1, len(arrivals) + 1):
        causal, rest = arrivals[:k], arrivals[k:]
        slope = math.fsum(w for _, w in causal)
        if slope <= 0:
            continue
        when = (threshold + math.fsum(t * w for t, w in causal)) / slope
        if causal[-1][0] < when <= (rest[0][0] if rest else math.inf):
            return when, slope
    return math.inf, 0.0


def potential(t: float, times: list[float], weights: list[float]) -> float:
    return math.fsum(w * (t - s) for s, w in zip(times, weights, strict=True) if s < t)
