"""Which way a call goes: the time of lists of events against that of a dense convolution, both estimated from the density.

The constants are nanoseconds of one core, fitted to `spikeloom bench sparse` on a Xeon (Sapphire Rapids, AVX-512, 2 MiB of L2); only their
ratios decide. They were measured on 3 x 3 convolutions of 64 to 512 channels at 1 to 50 % density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from spikeloom.engine.events.weights import BLOCK, REAL, VECTOR

Way = Literal["list", "depthwise", "dense"]

LIST_PIXEL = 16.0  # to build the list of an output pixel, for each group
LIST_EVENT = 0.35  # to put one event into it
LIST_BLOCK = {torch.float32: 7.0, torch.int8: 12.0}  # to begin and end a block of outputs of a pixel
LIST_VECTOR = {torch.float32: 0.27, torch.int8: 0.62}  # to add 64 bytes of weights
DENSE_MAC = 0.0135  # oneDNN, float32; per multiplication and addition
DENSE_PIXEL = 0.6  # to unpack or write one element


class Choice(NamedTuple):
    """How a call is computed, the density that decided, and a sentence."""

    way: Way
    density: float
    reason: str


@dataclass(frozen=True)
class Case:
    """One convolution. pixels: of all outputs; taps: of the kernel; inputs, outputs: channels of a group; elements: of the input."""

    pixels: int
    taps: int
    inputs: int
    outputs: int
    groups: int
    elements: int
    dtype: torch.dtype

    @property
    def depthwise(self) -> bool:
        return self.inputs == self.outputs == 1

    def entries(self, events: int) -> float:
        """What the lists of all outputs hold together, about."""
        return events / max(1, self.elements) * self.pixels * self.taps * self.inputs * self.groups

    def listed(self, events: int) -> float:
        """Nanoseconds of the lists."""
        blocks, vectors = -(-self.outputs // BLOCK[self.dtype]), -(-self.outputs // VECTOR[self.dtype])
        each = LIST_PIXEL + blocks * LIST_BLOCK[self.dtype]
        return self.pixels * self.groups * each + self.entries(events) * (LIST_EVENT + vectors * LIST_VECTOR[self.dtype])

    def dense(self) -> float:
        """Nanoseconds of unpacking and a dense float32 convolution."""
        macs = self.pixels * self.taps * self.inputs * self.outputs * self.groups
        return macs * DENSE_MAC + DENSE_PIXEL * self.elements


def choose(case: Case, events: int) -> Choice:
    """The quicker way. events: bits that are set."""
    density = events / max(1, case.elements)
    if case.depthwise:
        return Choice("depthwise", density, "depthwise: spikes mask the weights of 64 channels at a time, at any density")
    if case.dtype != REAL:
        return Choice("list", density, "8-bit weights: torch has no dense convolution with exact sums")
    ours, dense = case.listed(events), case.dense()
    if ours <= dense:
        return Choice("list", density, f"{density:.1%} of the inputs are events: about {dense / max(ours, 1):.1f} times faster than dense")
    if case.listed(0) > dense:
        few = f"{case.inputs} input and {case.outputs} output channels per group"
        return Choice("dense", density, f"{few} are too few to gain from lists")
    return Choice("dense", density, f"{density:.1%} of the inputs are events: lists would take about {ours / dense:.1f} times as long")
