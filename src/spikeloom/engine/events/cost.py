"""What a call takes by each way, estimated from shape and density.

The constants are nanoseconds of one core of a Xeon (Sapphire Rapids, AVX-512, 48 KiB of L1, 2 MiB of L2), fitted to 300 timings: kernels of
1 x 1 to 7 x 7, 8 to 512 channels, batches of 1 to 64, densities of 0.5 to 50 %. A processor without AVX-512 takes longer, for products more
so than for sums: processors.py, from 1,200 timings of an EPYC (Zen 3, AVX2). Only ratios decide; events must be quicker by MARGIN.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from spikeloom.engine.events import tiles
from spikeloom.engine.events.processors import DENSE, NARROW, WIDE
from spikeloom.engine.events.tiles import CHUNK, LONG, MOST, PARTS, ROWS
from spikeloom.engine.events.weights import BLOCK, REAL, VECTOR

Way = Literal["list", "tile", "table", "depthwise", "dense"]

MARGIN = 0.9  # of the dense time: what estimates are good for
NEAR = 32 * 1024  # bytes of weights near enough
# tiles: to begin, to spread 64 bytes of the input, a product and an output. Between what they take when the core is theirs alone and the
# threefold when a neighbour uses them too, as on shared machines
TILE_CALL, TILE_SPREAD, TILE_MAC, TILE_OUTPUT = 24000.0, 1.6, {torch.float32: 0.0018, torch.int8: 0.0012}, 0.25
# tables: to begin, an element of the input, an output pixel, a number looked up, and 64 bytes of its sums; their bytes, at most
TABLE_CALL, TABLE_INPUT, TABLE_PIXEL, TABLE_LOOK, TABLE_VECTOR, TABLE_MOST = 24000.0, 1.5, 11.0, 0.4, 0.55, 32 * 1024
UNPACK_CALL, UNPACK, WHOLE_OUTPUT = 9000.0, 0.62, 0.5  # of an element; to make one of a dense output a whole number
PACK_CALL, PACK, LAY_CALL, LAY = 11000.0, 0.58, 27000.0, 1.5  # of an element, of a weight
APART = 40000.0  # more of a dense current that a neuron's kernel reads, than of the lists in it
LAYER_CALL, LAYER_MARGIN = 80000.0, 0.6  # of a layer with gradients; of the input's only what digits save counts
# the weights' gradient, dense, as `Dense`
PULL_CALL, PULL_PIXEL, PULL_INPUT, PULL_OUTPUT, PULL_WEIGHT, PULL_MAC = 15500.0, 13.0, 0.26, 0.13, 0.82, 0.019
# by events: to begin, to list an event, to begin a run of taps for it and for a list of a piece, to add 64 bytes, to pad an element of the
# output's gradient, to store a weight's
GRAD_CALL, GRAD_EVENT, GRAD_RUN, GRAD_LIST, GRAD_ROW, GRAD_PAD, GRAD_WEIGHT = 17000.0, 4.0, 1.6, 21.0, 0.25, 0.8, 0.83
# the input's gradient: a dense product; and where windows are open: to begin, an element, to pad one of the output's gradient, to lay out a
# weight, to list an open window, for each block of outputs to sum it up, and to add 64 bytes, to begin a list, and the entries that fill it
DRAW_MAC, OPEN_MARGIN = 0.0125, 0.85
OPEN_CALL, OPEN_ELEMENT, OPEN_PAD, OPEN_WEIGHT, OPEN_LIST = 20000.0, 0.55, 0.9, 1.6, 3.0
OPEN_SUM, OPEN_VECTOR, OPEN_BEGIN, FILLED = 3.5, 0.19, 15.0, 3
# that gradient by digits: of an element of the output's gradient, of a weight, of an element of the result, and six products
DIGIT, DIGIT_WEIGHT, DIGIT_OUTPUT, DIGIT_MAC = 0.9, 1.5, 0.7, 0.006
# a list is cut into rows of taps, or taps, whose weights stay in L1, once these parts have so many entries
ROW_ENTRIES, TAP_ENTRIES = {torch.float32: 36, torch.int8: 128}, {torch.float32: 32, torch.int8: 96}
OURS = WIDE if torch.backends.cpu.get_cpu_capability() == "AVX512" else NARROW


@dataclass(frozen=True)
class Case:
    """One convolution. pixels: of all outputs; inputs, outputs: channels of a group; elements: of the input; width: of its output.

    sheets: planes of the input, those of either sign counted; 0: dilated, which tables cannot be.
    """

    pixels: int
    kernel: tuple[int, int]
    inputs: int
    outputs: int
    groups: int
    elements: int
    dtype: torch.dtype
    width: int
    sheets: int = 0

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

    @property
    def chunks(self) -> int:
        """Products of a tile, one digit each."""
        return tiles.chunks(self.inputs, *self.kernel)

    @property
    def spread(self) -> float:
        """Numbers of 4 bytes that a pixel's inputs take, spread out for tiles."""
        return self.chunks * 16.0

    @cached_property
    def most(self) -> int:
        """The most events at which lists are quickest; -1: there are none."""
        limit = range(2 * self.elements)
        return bisect_right(limit, self._fixed[self.otherwise], key=self.listed) - 1

    @cached_property
    def most_fused(self) -> int:
        """As `most`, within a neuron's kernel."""
        return bisect_right(range(2 * self.elements), self._fixed_fused[self.otherwise_fused], key=self.listed) - 1

    @cached_property
    def otherwise(self) -> Way:
        """The quickest of the ways whose time does not depend on the events."""
        return min(self._fixed, key=self._fixed.__getitem__)

    @cached_property
    def otherwise_fused(self) -> Way:
        """As `otherwise`, within a neuron's kernel."""
        return min(self._fixed_fused, key=self._fixed_fused.__getitem__)

    @cached_property
    def _fixed(self) -> dict[Way, float]:
        """Nanoseconds of these ways; of dense less MARGIN."""
        ways: dict[Way, float] = {"dense": MARGIN * self.dense()}
        if self._tiles:
            ways["tile"] = self.tiled()
        if self.looked:
            ways["table"] = self.tabled()
        return ways

    @cached_property
    def _fixed_fused(self) -> dict[Way, float]:
        return {**self._fixed, "dense": MARGIN * self.dense() + APART}

    @property
    def _tiles(self) -> bool:
        return not self.depthwise and self.groups == 1 and self.taps * self.inputs <= MOST and tiles.state() == 1

    @property
    def looked(self) -> bool:
        """Whether there are tables for it, and small ones."""
        block = min(self.outputs, BLOCK[self.dtype])
        return self.sheets > 0 and not self.depthwise and 4 * block * self.kernel[0] * self.inputs << self.kernel[1] <= TABLE_MOST

    def cut(self, way: Way, events: int) -> tuple[int, float]:
        """`parts` of a Shape in lists.h, and about how many numbers of 4 bytes a pixel's inputs take."""
        if way == "tile":
            return 0, self.spread
        return (-1, 1.0) if way == "table" else (self.parts(events), self.entries(events))

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
        ours = OURS.lists
        vector = (ours.real if self.dtype == REAL else ours.whole) + ours.far * max(0.0, math.log2(self._slab(parts) / NEAR))
        pixel = ours.pixel + entries * ours.entry + parts * blocks * ours.part + entries * vectors * vector
        return ours.call + self.words * ours.word + self.pixels * self.groups * pixel

    def tiled(self) -> float:
        """Nanoseconds of tiles, whatever the density."""
        rows = self.pixels // max(1, self.width)
        pixels = rows * -(-self.width // ROWS) * ROWS if self.width >= LONG else -(-self.pixels // ROWS) * ROWS
        copies = 2.0 * -(-self.inputs // CHUNK) if self.width >= LONG else self.chunks  # rows are read by two neighbours, or each tap reads
        wide = 16 if self.dtype == REAL else 32
        outputs = -(-self.outputs // wide) * wide
        products = pixels * self.chunks * CHUNK * outputs * PARTS[self.dtype]
        return TILE_CALL + pixels * copies * TILE_SPREAD + products * TILE_MAC[self.dtype] + pixels * outputs * TILE_OUTPUT

    def tabled(self) -> float:
        """Nanoseconds of tables, whatever the density."""
        looks = self.sheets * self.kernel[0] * self.inputs
        filled = -(-self.outputs // VECTOR[self.dtype]) * VECTOR[self.dtype]
        pixel = TABLE_PIXEL + looks * (TABLE_LOOK + filled / 16 * TABLE_VECTOR)
        return OURS.looked * (TABLE_CALL + self.elements * self.sheets * TABLE_INPUT + self.pixels * self.groups * pixel)

    def dense(self) -> float:
        """Nanoseconds of unpacking and a dense float32 convolution."""
        whole = 0.0 if self.dtype == REAL else self.results * WHOLE_OUTPUT
        return self.unpacked() + self.convolved() + whole

    def unpacked(self) -> float:
        """Nanoseconds of unpacking."""
        return OURS.unpacking * UNPACK_CALL + self.elements * UNPACK

    def convolved(self) -> float:
        """Nanoseconds of a dense float32 convolution."""
        one = OURS.single if self.taps == 1 else OURS.larger
        read = self.elements * one.input + self.results * one.output + self.weights * one.weight
        return one.call + self.pixels * one.pixel + read + self.products * one.mac

    def pulled(self) -> float:
        """Nanoseconds of the weights' gradient as a dense product."""
        read = self.elements * PULL_INPUT + self.results * PULL_OUTPUT + self.weights * PULL_WEIGHT
        return OURS.pulled * (PULL_CALL + self.pixels * PULL_PIXEL + read + self.products * PULL_MAC)

    def gathered(self, events: int, stride: tuple[int, int], pieces: int, block: int) -> float:
        """Nanoseconds of the weights' gradient by events. pieces: of the batch; block: outputs of a run."""
        blocks = -(-self.outputs // block)
        wide, classes = blocks * block, [min(k, s) for k, s in zip(self.kernel, stride, strict=True)]
        runs, reached = self.kernel[0] * classes[1] * blocks, classes[0] * classes[1]
        event = GRAD_EVENT + (runs * GRAD_RUN + self.taps * wide / 16 * GRAD_ROW) / reached
        once = self.pixels * GRAD_PAD + self.taps * self.inputs * GRAD_WEIGHT
        return OURS.gathered * (GRAD_CALL + events * event + self.groups * (wide * once + pieces * self.inputs * runs * GRAD_LIST))

    def drawn(self) -> float:
        """Nanoseconds of the input's gradient as a dense product."""
        read = self.elements * DENSE.input + self.results * DENSE.output
        products = self.pixels * self.taps * -(-self.inputs // 16) * 16 * self.outputs * self.groups
        return OURS.drawn * (DENSE.call + read + products * DRAW_MAC)

    def drawn_by_digits(self) -> float:
        """Nanoseconds of the input's gradient as products of digits, for a stride of 1."""
        pixels = self.elements // max(1, self.inputs)
        chunks = tiles.chunks(self.outputs, *self.kernel)
        wide = -(-self.inputs // 16) * 16
        once = self.pixels * self.outputs * DIGIT + self.weights * DIGIT_WEIGHT + pixels * wide * DIGIT_OUTPUT
        return TILE_CALL + once + pixels * chunks * CHUNK * wide * DIGIT_MAC

    @cached_property
    def draws(self) -> Way:
        """The quicker of two ways to the whole of the input's gradient, for a stride of 1 and a padding smaller than the kernel."""
        fits = self.groups == 1 and self.taps * self.outputs <= MOST // 3 and tiles.state() == 1
        return "tile" if fits and self.drawn_by_digits() < MARGIN * self.drawn() else "dense"

    def narrows(self, share: float, stride: tuple[int, int], pieces: int, block: int, otherwise: Way = "dense") -> bool:
        """Whether the input's gradient is quicker where a window is open, a `share` of it, than `otherwise`. pieces, block: as in
        `gathered`."""
        blocks, classes = -(-self.outputs // block), min(self.kernel[0], stride[0]) * min(self.kernel[1], stride[1])
        lists, wanted = pieces * self.inputs * classes, share * self.elements
        once = OPEN_SUM + self.taps * block / 16 / classes * OPEN_VECTOR
        every = self.elements * OPEN_ELEMENT + self.pixels * blocks * block * OPEN_PAD + self.weights * OPEN_WEIGHT
        ours = OPEN_CALL + every + wanted * OPEN_LIST + blocks * ((wanted + FILLED * lists) * once + lists * OPEN_BEGIN)
        return OURS.narrowed * ours <= OPEN_MARGIN * (self.drawn_by_digits() if otherwise == "tile" else self.drawn())

    @property
    def weights(self) -> int:
        return self.taps * self.inputs * self.outputs * self.groups

    @property
    def results(self) -> int:
        return self.pixels * self.outputs * self.groups

    @property
    def words(self) -> int:
        channels = self.inputs * self.groups
        return min(self.elements // max(1, channels), self.pixels * self.taps) * -(-channels // 64)

    @property
    def products(self) -> int:
        """Of oneDNN, which fills its vectors."""
        return self.pixels * self.taps * self.inputs * -(-self.outputs // 16) * 16 * self.groups

    def _slab(self, parts: int) -> float:
        """Bytes of weights that one part of the lists of a block walks through."""
        return self.taps * self.inputs * 128 / parts
