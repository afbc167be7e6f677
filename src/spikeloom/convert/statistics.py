"""Statistics of a network's activations over the calibration inputs, a few inputs at a time.

All inputs go through the network in groups of the same size, whatever the batches: the same input then gives the same bits wherever
it stands, which kernels do not promise across sizes. Counts and maxima do not depend on order, so neither do the results. The data
must be the same at every pass, in any order: no random crops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from spikeloom.convert.graph import ConversionError
from spikeloom.core.errors import DataError, ParameterError, ShapeError, refusal
from spikeloom.core.params import Choice

if TYPE_CHECKING:
    from spikeloom.convert.normalisers.base import Case

GROUP = 64  # inputs that go through the network together
PER = Choice(("layer", "channel"), "one number for a layer, or one for each of its channels")
OF = Choice(("positive", "all"), "the activations that are not 0, or all")
# digits of the 31 bits of a float32 that is not negative, one pass over the data each: 256 KB for a layer, 16 KB for a channel
DIGITS = {"layer": (16, 15), "channel": (11, 10, 10)}


def inputs(case: Case) -> Iterator[Tensor]:
    """The calibration batches `[B, ...]` like the net's sample in type and place. Refuses what is not of its shape, and no input at all."""
    sample, count = case.net.sample, 0
    for x in case.batches:
        if not isinstance(x, Tensor):
            raise DataError(refusal("calibration data", type(x).__name__, "tensors, or (tensor, labels)"))
        if x.dim() != sample.dim() or x.shape[1:] != sample.shape[1:]:
            shape = ", ".join(map(str, ["B", *sample.shape[1:]]))
            raise ShapeError(refusal("calibration data", list(x.shape), f"[{shape}]", "give inputs as the network takes them"))
        count += len(x)
        yield x.to(sample)
    if not count:
        raise DataError(refusal("calibration data", "no inputs", "at least one", "give some of the training set"))


def groups(case: Case, size: int = GROUP) -> Iterator[tuple[Tensor, int]]:
    """All inputs as `[size, ...]`, and how many of them are real: zeros fill up the last."""
    rest = case.net.sample[:0]
    for x in inputs(case):
        rest = torch.cat([rest, x])
        while len(rest) >= size:
            yield rest[:size], size
            rest = rest[size:]
    if len(rest):
        yield torch.cat([rest, rest.new_zeros(size - len(rest), *rest.shape[1:])]), len(rest)


def sweep(case: Case, nodes: Sequence[fx.Node], see: Callable[[fx.Node, Tensor], None]) -> None:
    """`see(node, value)` for these nodes and all inputs: the magnitudes `[B, C, ...]` of what the node gives (signed neurons fire on
    both sides). Refuses values that are not finite, by name."""
    wanted = set(nodes)
    last = next((node for node in reversed(case.net.nodes) if node in wanted), None)

    def look(count: int, node: fx.Node, value: Tensor) -> None:
        if node in wanted:
            see(node, finite(node, value[:count]).abs())

    for x, count in groups(case) if last else ():
        case.net.watch(partial(look, count), x, until=last)


def finite(node: fx.Node, value: Tensor) -> Tensor:
    """`value`, or a refusal that names the node."""
    if value.numel() and not all(math.isfinite(end.item()) for end in (value.amin(), value.amax())):  # aminmax copies channels_last
        layer = f"{node.name} (layer {node.target!r})" if node.op == "call_module" else node.name
        raise ConversionError(f"{layer}: its values are not all finite; look for NaN in the calibration data and in the weights")
    return value


def rows(value: Tensor, per: str) -> Tensor:
    """`[B, C, ...]` as `[1, n]`, or `[C, n]` per channel."""
    return value.reshape(1, -1) if per == "layer" else value.transpose(0, 1).flatten(1)


def shaped(value: Tensor, per: str) -> Tensor:
    """`[1]` as 0-d per layer; `[C]` as it is."""
    return value[0] if per == "layer" else value


def maxima(case: Case, nodes: Sequence[fx.Node], per: str = "layer") -> dict[str, Tensor]:
    """The largest magnitude of each node's values, 0-d or `[C]`, by name; exact. One pass over the data."""
    PER.check("maxima.per", per)
    found: dict[str, Tensor] = {}

    def see(node: fx.Node, value: Tensor) -> None:
        top = shaped(rows(value, per).amax(1), per)
        found[node.name] = torch.maximum(found[node.name], top) if node.name in found else top

    sweep(case, nodes, see)
    return found


def quantile(
    case: Case, nodes: Sequence[fx.Node], fraction: float | Fraction | dict[str, Fraction], per: str = "layer", of: str = "positive"
) -> dict[str, Tensor]:
    """The smallest float32 that at least `fraction` of a node's magnitudes do not pass (NumPy's `inverted_cdf`), 0-d or `[C]`, by name.

    An exact order statistic of the values rounded to float32, found digit by digit of their bits: two passes over the data per layer,
    three per channel. fraction: in (0, 1], read as the decimal it is written as, or one per node name. of: `"positive"` leaves out the
    zeros, `"all"` does not. A layer or channel without values has 0.
    """
    PER.check("quantile.per", per)
    OF.check("quantile.of", of)
    given = fraction if isinstance(fraction, dict) else {node.name: Fraction(str(fraction)) for node in nodes}
    for value in given.values():
        if not 0 < value <= 1:
            raise ParameterError(refusal("quantile.fraction", float(value), "in (0, 1]"))
    searches = {node.name: _Search(given[node.name], DIGITS[per], of) for node in nodes}
    for _ in DIGITS[per]:
        sweep(case, nodes, lambda node, value: searches[node.name].count(rows(value, per)))
        for search in searches.values():
            search.narrow()
    return {name: shaped(search.value(), per).to(case.net.sample.dtype) for name, search in searches.items()}


class _Search:
    """Radix selection in each row of `[G, n]` that comes in parts: the digits found so far, and how many values have the next ones."""

    def __init__(self, fraction: Fraction, digits: tuple[int, ...], of: str) -> None:
        self.fraction, self.digits, self.of = fraction, list(digits), of
        self.shift = sum(digits)  # bits still unknown
        self.prefix: Tensor | None = None  # [G, 1] known digits
        self.counts: Tensor | None = None  # [G, bins] values with these digits, by the next one
        self.rank: Tensor | None = None  # [G, 1] of the value sought among them, from 1

    def count(self, value: Tensor) -> None:
        """Take part in this pass: value `[G, n]`, none negative."""
        bits = value.float().contiguous().view(torch.int32)  # ordered as the values are
        width, size = self.digits[0], len(bits)
        shift = self.shift - width
        digit = (bits >> shift) & (2**width - 1)
        place = digit + 2**width * torch.arange(size, device=bits.device, dtype=torch.int32).unsqueeze(1)
        mask = bits >= (1 if self.of == "positive" else 0)
        if self.prefix is not None:
            mask &= (bits >> self.shift) == self.prefix
        counts = torch.bincount(place[mask], minlength=size * 2**width).view(size, -1)
        self.counts = counts if self.counts is None else self.counts + counts

    def narrow(self) -> None:
        """End a pass: fix the next digit."""
        assert self.counts is not None
        total = self.counts.sum(1, keepdim=True)
        if self.rank is None:
            over, under = self.fraction.numerator, self.fraction.denominator
            # in Python's whole numbers: total * numerator may pass 64 bits
            ranks = [max(1, -(-n * over // under)) for n in total.flatten().tolist()]
            self.rank = torch.tensor(ranks, device=total.device).unsqueeze(1)
        below = self.counts.cumsum(1)
        digit = (below < self.rank).sum(1, keepdim=True).clamp(max=self.counts.shape[1] - 1)
        self.rank = self.rank - torch.where(digit > 0, below.gather(1, (digit - 1).clamp(min=0)), 0)
        width = self.digits.pop(0)
        self.prefix = digit.int() if self.prefix is None else (self.prefix << width) + digit.int()
        self.shift -= width
        self.prefix = torch.where(total > 0, self.prefix, 0)
        self.counts = None

    def value(self) -> Tensor:
        """The values found, `[G]`."""
        assert self.prefix is not None
        return self.prefix.view(torch.float32).flatten()
