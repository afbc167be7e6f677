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
LIST_ROW = {torch.float32: 0.53, torch.int8: 0.62}  # to add a vector of 64 bytes of weights; float32: two of them, the usual block
DENSE_MAC = 0.0135  # oneDNN, float32; per multiplication and addition
DENSE_PIXEL = 0.6  # to unpack or write one element


class Choice(NamedTuple):
    """How a call is computed, the density that decided, and a sentence."""

    way: Way
    density: float
    reason: str


@dataclass(frozen=True)
class Case:
    """One call of a convolution. pixels: of the output, of all images; taps: of the kernel; inputs, outputs: channels of a group."""

    pixels: int
    taps: int
    inputs: int
    outputs: int
    groups: int
    elements: int
    dtype: torch.dtype

    def listed(self, density: float) -> float:
        """Nanoseconds of the lists."""
        block, vector = BLOCK[self.dtype], VECTOR[self.dtype]
        vectors = -(-self.outputs // vector)
        events = density * self.taps * self.inputs
        row = LIST_ROW[self.dtype] / (2 if self.dtype == REAL else 1) * vectors
        each = LIST_PIXEL + events * LIST_EVENT + -(-self.outputs // block) * LIST_BLOCK[self.dtype] + events * row
        return self.pixels * self.groups * each

    def dense(self) -> float:
        """Nanoseconds of unpacking and a dense float32 convolution."""
        macs = self.pixels * self.taps * self.inputs * self.outputs * self.groups
        return macs * DENSE_MAC + DENSE_PIXEL * self.elements


def choose(case: Case, density: float) -> Choice:
    """The quicker way."""
    if case.inputs == case.outputs == 1:
        return Choice("depthwise", density, "depthwise: a mask per word of spikes is never slower than unpacking them")
    if case.dtype != REAL:
        return Choice("list", density, "8-bit weights: torch has no dense convolution of exact integers")
    ours, dense = case.listed(density), case.dense()
    if ours <= dense:
        return Choice("list", density, f"{density:.1%} of the inputs are events: about {dense / ours:.1f} times faster than dense")
    why = f"{density:.1%} of the inputs are events"
    if case.listed(0.0) > dense:
        why = f"{case.inputs} input and {case.outputs} output channels per group are too few to gain from lists"
    return Choice("dense", density, f"{why}: lists would take about {ours / dense:.1f} times as long")
