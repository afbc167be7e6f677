"""Which way a call goes: the time of lists of events against that of a dense convolution, both estimated from the density.

The constants are nanoseconds of one core of a Xeon (Sapphire Rapids, AVX-512, 48 KiB of L1, 2 MiB of L2), fitted to timings of 3 x 3
convolutions of 64 to 512 channels at 1 to 40 % density; only their ratios decide.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch

from spikeloom.engine.events.weights import BLOCK, REAL, VECTOR

Way = Literal["list", "depthwise", "dense"]

LIST_PIXEL, LIST_ENTRY = 18.0, 0.17  # to build the list of an output pixel, and for each of its entries
LIST_PART = 7.0  # to begin and end a part of a list, for each block of outputs: the end is not foreseen
LIST_VECTOR = {torch.float32: 0.27, torch.int8: 0.56}  # to add 64 bytes of weights from L1
LIST_FAR, NEAR = 0.08, 32 * 1024  # more for each doubling of the weights that a part walks through, beyond so many bytes
DENSE_MAC = 0.0118  # oneDNN, float32
DENSE_ELEMENT = 0.25  # to unpack
PACK, LAY = 0.45, 1.5  # to pack an element, to lay out a weight
# the weights' gradient: to look at a word, to list an event, to add 64 bytes of the output's gradient, to pad one of its numbers, to store
SCAN, SCATTER, ROW, PAD, STORE = 4.0, 3.0, 0.55, 0.6, 1.5
# a list is cut into rows of taps, or taps, whose weights stay in L1, once these parts have so many entries
ROW_ENTRIES, TAP_ENTRIES = {torch.float32: 36, torch.int8: 128}, {torch.float32: 32, torch.int8: 96}


class Choice(NamedTuple):
    """How a call is computed, the density that decided, and a sentence."""

    way: Way
    density: float
    reason: str


@dataclass(frozen=True)
class Case:
    """One convolution. pixels: of all outputs; kernel; inputs, outputs: channels of a group; elements: of the input."""

    pixels: int
    kernel: tuple[int, int]
    inputs: int
    outputs: int
    groups: int
    elements: int
    dtype: torch.dtype

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def depthwise(self) -> bool:
        return self.inputs == self.outputs == 1

    def density(self, events: int) -> float:
        """Events per element."""
        return events / max(1, self.elements)

    def entries(self, events: int) -> float:
        """Of the list of one pixel and group, about."""
        return self.density(events) * self.taps * self.inputs

    @cached_property
    def most(self) -> int:
        """The most events at which lists are no slower than a dense convolution; -1: there are none."""
        limit = range(2 * self.elements)
        return bisect_right(limit, self.dense(), key=self.listed) - 1

    @cached_property
    def cuts(self) -> tuple[int, int]:
        """From how many events on a pixel's list is cut into rows of taps, and into taps."""
        row, tap = ROW_ENTRIES[self.dtype] * self.elements, TAP_ENTRIES[self.dtype] * self.elements
        never = 1 << 62
        rows = -(-row // (self.kernel[1] * self.inputs)) if self._slab(1) > NEAR else never
        return rows, -(-tap // self.inputs) if self._slab(self.kernel[0]) > 2 * NEAR else never

    def parts(self, events: int) -> int:
        """That the list of a pixel is cut into: 1, the rows of taps, or the taps."""
        rows, taps = self.cuts
        return self.taps if events >= taps else self.kernel[0] if events >= rows else 1

    def listed(self, events: int) -> float:
        """Nanoseconds of the lists."""
        parts, entries = self.parts(events), self.entries(events)
        blocks, vectors = -(-self.outputs // BLOCK[self.dtype]), -(-self.outputs // VECTOR[self.dtype])
        vector = LIST_VECTOR[self.dtype] + LIST_FAR * max(0.0, math.log2(self._slab(parts) / NEAR))
        pixel = LIST_PIXEL + entries * LIST_ENTRY + parts * blocks * LIST_PART + entries * vectors * vector
        return self.pixels * self.groups * pixel

    def dense(self) -> float:
        """Nanoseconds of unpacking and a dense float32 convolution."""
        return self.pixels * self.taps * self.inputs * self.outputs * self.groups * DENSE_MAC + self.elements * DENSE_ELEMENT

    def weighed(self, events: int, stride: tuple[int, int]) -> float:
        """Nanoseconds of the weights' gradient by events."""
        vectors = -(-self.outputs // 16)
        reached = self.taps / min(self.kernel[0], stride[0]) / min(self.kernel[1], stride[1])
        lists = self.elements * SCAN / min(64, self.inputs * self.groups) + events * (SCATTER + reached * vectors * ROW)
        return lists + self.pixels * self.outputs * self.groups * PAD + self.weights * STORE

    @property
    def weights(self) -> int:
        return self.taps * self.inputs * self.outputs * self.groups

    def _slab(self, parts: int) -> float:
        """Bytes of weights that one part of the lists of a block walks through."""
        return self.taps * self.inputs * 128 / parts


def way(case: Case, events: int) -> Way:
    """The quickest. events: bits that are set."""
    if case.depthwise:
        return "depthwise"
    return "list" if case.dtype != REAL or events <= case.most else "dense"


def training(case: Case, events: int, stride: tuple[int, int], trains: bool) -> tuple[Way, Way]:
    """The quickest ways of the output and of the weights' gradient, packing and laying out the weights counted in."""
    once = case.elements * PACK
    dense, backward = case.dense() - case.elements * DENSE_ELEMENT, case.weighed(events, stride)
    gradient: Way = "list" if trains and backward + case.elements * DENSE_ELEMENT < dense else "dense"
    listed = case.listed(events) + case.weights * LAY
    forward: Way = "depthwise" if case.depthwise else "list"
    if listed + (0 if gradient == "list" else once) > dense:
        forward = "dense"
    gained = (dense - listed if forward != "dense" else 0) + (dense - backward if gradient == "list" else 0)
    return (forward, gradient) if gained > once else ("dense", "dense")


def choose(case: Case, events: int) -> Choice:
    """The quickest way, and why."""
    found, density = way(case, events), case.density(events)
    ratio = case.dense() / max(1.0, case.listed(events))
    if found == "depthwise":
        why = "depthwise: spikes mask the weights of 64 channels at a time, at any density"
    elif case.dtype != REAL:
        why = "8-bit weights: torch has no dense convolution with exact sums"
    elif found == "list":
        why = f"{density:.1%} of the inputs are events: about {ratio:.1f} times faster than dense"
    elif case.most < 0:
        why = f"{case.inputs} input and {case.outputs} output channels per group are too few to gain from lists"
    else:
        why = f"{density:.1%} of the inputs are events: lists would take about {1 / ratio:.1f} times as long"
    return Choice(found, density, why)
