from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.convert.statistics import PER, maxima, rows, shaped, sweep
from spikeloom.convert.upstream import firing
from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, refusal

# candidates are the maximum times these hundredths, largest first
HUNDREDTHS = torch.arange(100, 5, -1)
BUDGET = 64 * 2**20  # bytes of histograms in one pass over the data
FIXED = 2**26  # parts of the maximum in which sums are kept: whole numbers, exact in any order


@dataclass(frozen=True)
class MMSE(Normaliser):
    """The scale whose T-step staircase is nearest to the activation in the mean square, out of max (1 - 0.01 i), i = 0..94 (calibration,
    Li et al. 2021): y(x) = scale / T clamp(floor(T x / scale + start), 0, T), T the steps of the SNN.

    per: `"layer"` or `"channel"`. start: where the neurons' membranes start, 0 or 0.5 thresholds.
    Exact: each edge of each candidate's steps is an edge of the histogram kept, whose bins are 1/100 of a T-th of the maximum wide (half
    of it for start = 0.5); only values within rounding of an edge may fall to either side, and sums are of values rounded to 2^-26 of the
    maximum.
    1.6 KB of memory per step for a layer or channel (3.2); layers share passes over the data up to 64 MB.
    """

    paper = bibliography.CALIBRATION
    per: str = "layer"
    start: float = 0.0

    def __post_init__(self) -> None:
        PER.check("MMSE.per", self.per)
        if self.start not in (0, 0.5):
            raise ParameterError(refusal("MMSE.start", self.start, "0 or 0.5"))

    def find(self, case: Case) -> dict[str, Tensor]:
        fine = 200 if self.start else 100
        tops = maxima(case, [node for node, _ in firing(case.net)], self.per)
        found = {}
        for nodes in _passes(case, tops, 16 * fine * case.steps):
            kept: dict[fx.Node, _Histogram] = {}

            def see(node: fx.Node, value: Tensor, kept: dict[fx.Node, _Histogram] = kept) -> None:
                if node not in kept:
                    kept[node] = _Histogram(tops[node.name].reshape(-1, 1), fine * case.steps)
                kept[node].add(rows(value, self.per))

            sweep(case, nodes, see)
            for node, histogram in kept.items():
                best = histogram.best(case.steps, fine).to(tops[node.name].device)
                found[node.name] = tops[node.name] * shaped(best, self.per) / 100
        return found


def _passes(case: Case, tops: dict[str, Tensor], size: int) -> Iterator[list[fx.Node]]:
    """The nodes in lots whose histograms, of `size` bytes for a layer or channel, fit the budget; at least one at a time."""
    lot: list[fx.Node] = []
    used = 0
    for node, _ in firing(case.net):
        need = tops[node.name].numel() * size
        if lot and used + need > BUDGET:
            yield lot
            lot, used = [], 0
        lot, used = [*lot, node], used + need
    if lot:
        yield lot


class _Histogram:
    """How many values of each row, and their sum, between the edges 0, 1, .. `bins` times top / bins."""

    def __init__(self, top: Tensor, bins: int) -> None:
        self.top, self.bins = torch.where(top > 0, top, 1.0).double(), bins
        self.counts = torch.zeros(len(top), bins + 1, dtype=torch.int64, device=top.device)
        self.sums = torch.zeros_like(self.counts)

    def add(self, value: Tensor) -> None:
        """value `[G, n]`, from 0 to top."""
        share = (value.double() / self.top).clamp(max=1)
        groups = (self.bins + 1) * torch.arange(len(value), device=value.device).unsqueeze(1)
        place = ((share * self.bins).long() + groups).flatten()
        self.counts += torch.bincount(place, minlength=self.counts.numel()).view_as(self.counts)
        # weights and sums are whole numbers below 2^53
        sums = torch.bincount(place, (share * FIXED).round().flatten(), minlength=self.counts.numel())
        self.sums += sums.long().view_as(self.sums)

    def best(self, steps: int, fine: int) -> Tensor:
        """Hundredths of the top whose staircase is nearest, `[G]`; the largest of equals."""
        edge = torch.arange(self.bins + 1, device=self.counts.device)
        counts, sums = self.counts.double(), self.sums.double() / FIXED
        costs = []
        for m in HUNDREDTHS.tolist():
            level = (edge // m if fine == 100 else (edge + m) // (2 * m)).clamp(max=steps).double()
            y = level * (m / 100 / steps)
            costs.append(counts @ (y * y) - 2 * (sums @ y))  # the square error less that of silence
        return HUNDREDTHS.to(edge.device)[torch.stack(costs).argmin(0)]
