"""When a membrane driven by alpha or linear postsynaptic potentials first reaches a threshold: exact, without a grid of time.

Both kernels are eps(s) = gain s exp(-rate s) for s > 0 (alpha: gain e/tau, rate 1/tau; linear: gain 1, rate 0). With x and c known
at an arrival, u later and before the next arrival

    x(u) = exp(-rate u) (x + c u),      c(u) = exp(-rate u) c,

and an arrival of weight w adds gain w to c. So x has at most one extremum between two arrivals, at u = 1/rate - x/c; it is a maximum
if c > 0, and whether the interval crosses is decided by the value there. From below, the crossing solves

    h(u) = x + c u - threshold exp(rate u) = 0,

h is concave and increasing up to it, so that Newton's method from the arrival on approaches it from the left and never passes it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 128  # arrivals looked at together; the search ends with the block in which the last neuron fires
SPAN = 30.0  # largest rate * duration of a block: exp(30) costs no digits that matter, and nothing overflows


def first_crossing(arrivals: Tensor, weight: Tensor, threshold: float, rate: float, gain: float) -> tuple[Tensor, Tensor]:
    """Time and slope of the first crossing, `[B, out]` each, for arrivals `[B, 1 or out, n]` (inf: none) and weights `[out, n]`.

    Never reached: time inf, slope 0. float64 throughout.
    """
    arrivals, order = arrivals.sort(-1)
    batch, out = len(arrivals), len(weight)
    weight = weight.expand(batch, -1, -1)
    time = arrivals.new_full((batch, out), math.inf)
    slope, x, c = torch.zeros_like(time), torch.zeros_like(time), torch.zeros_like(time)
    ends = torch.cat((arrivals[..., 1:], torch.full_like(arrivals[..., :1], math.inf)), -1)
    start, events = 0, int(arrivals.isfinite().sum(-1).max()) if arrivals.numel() else 0
    while start < events and bool(time.isinf().any()):
        stop = _block_end(arrivals, start, events, rate)
        here, there = arrivals[..., start:stop], ends[..., start:stop]
        finite = here.isfinite()
        since = torch.where(finite, here - here[..., :1], 0.0)
        length = torch.where(finite, there - here, 0.0)
        w = torch.gather(weight, 2, order[..., start:stop].expand(-1, out, -1)).mul_(finite).mul_(gain)
        xs, cs = _states(x, c, w, since, rate)
        _settle(time, slope, here, xs, cs, length, finite, threshold, rate)
        left = torch.where(length[..., -1].isfinite(), length[..., -1], 0.0)
        decay = torch.exp(-rate * left)
        x, c = decay * (xs[..., -1] + left * cs[..., -1]), decay * cs[..., -1]
        start = stop
    return time, slope


def _block_end(arrivals: Tensor, start: int, events: int, rate: float) -> int:
    size = min(BLOCK, events - start)
    while size > 1:
        duration = arrivals[..., start + size - 1] - arrivals[..., start]
        if rate * float(duration.nan_to_num(0.0, posinf=0.0).max()) <= SPAN:
            break
        size //= 2
    return start + size


def _states(x: Tensor, c: Tensor, w: Tensor, since: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """x and c just after each arrival of a block, `[B, out, m]`, from those just before the first."""
    growth = torch.exp(rate * since)
    grown = w * growth
    total = grown.cumsum(-1).add_(c[..., None])
    moment = grown.mul_(since).cumsum(-1)
    decay = growth.reciprocal_()
    return torch.addcmul(x[..., None] - moment, since, total).mul_(decay), total.mul_(decay)


def _settle(
    time: Tensor, slope: Tensor, here: Tensor, x: Tensor, c: Tensor, length: Tensor, finite: Tensor, threshold: float, rate: float
) -> None:
    """Writes time and slope of the neurons that fire in this block and have not fired before."""
    rising = (1 / rate if rate else math.inf) - x / c
    limit = torch.minimum(torch.where(c > 0, rising, 0.0).clamp_(min=0), length)
    highest = torch.addcmul(x, limit, c)
    if rate:
        highest.mul_(torch.exp(-rate * limit))
    crosses = (highest >= threshold) & finite
    fires = crosses.any(-1) & time.isinf()
    if not bool(fires.any()):
        return
    first = crosses.to(torch.uint8).argmax(-1, keepdim=True)[fires]
    x, c, limit = (values[fires].gather(-1, first)[..., 0] for values in (x, c, limit))
    u = _newton(x, c, limit, threshold, rate)
    time[fires] = here.expand_as(crosses)[fires].gather(-1, first)[..., 0] + u
    slope[fires] = torch.exp(-rate * u) * c - rate * threshold


def _newton(x: Tensor, c: Tensor, limit: Tensor, threshold: float, rate: float) -> Tensor:
    """The root of h in [0, limit]; where the maximum only touches the threshold, the place of the maximum."""
    u = torch.zeros_like(x)
    for _ in range(100):
        grown = threshold * torch.exp(rate * u)
        height, steepness = x + c * u - grown, c - rate * grown
        step = torch.where(steepness > 0, -height / steepness, math.inf)
        following = torch.minimum(torch.where(height < 0, u + step, u), limit)
        if bool((following - u <= 1e-12 * (1 + u)).all()):
            return following
        u = following
    return u
