"""What differs in the estimates of cost.py between a processor with AVX-512, WIDE, and one with AVX2 and nothing wider, NARROW."""

from __future__ import annotations

from typing import NamedTuple


class Lists(NamedTuple):
    """Nanoseconds: to begin, to read a word, to build the list of an output pixel, for each of its entries; to begin and end a part of a
    list, for each block of outputs, for the end is not foreseen; to add 64 bytes of float32 or int8 weights from L1, and more for each
    doubling of the weights that a part walks through, beyond NEAR."""

    call: float
    word: float
    pixel: float
    entry: float
    part: float
    real: float
    whole: float
    far: float


class Dense(NamedTuple):
    """Nanoseconds of oneDNN in float32: to begin, an output pixel, an element of the input, of the output, a weight, and a product."""

    call: float
    pixel: float
    input: float
    output: float
    weight: float
    mac: float


class Processor(NamedTuple):
    """What lists take, dense convolutions of a kernel of one tap and of more, and all else times as long as the constants say.

    looked: tables. unpacking: to begin it. pulled, gathered: the weights' gradient, dense and by events.
    drawn, narrowed: the input's, dense and where windows are open. rest: packing and the like.
    """

    lists: Lists
    single: Dense
    larger: Dense
    looked: float = 1.0
    unpacking: float = 1.0
    pulled: float = 1.0
    gathered: float = 1.0
    drawn: float = 1.0
    narrowed: float = 1.0
    rest: float = 1.0


DENSE = Dense(5000.0, 14.0, 0.28, 0.05, 0.42, 0.016)
WIDE = Processor(Lists(24000.0, 6.3, 32.0, 0.18, 23.0, 0.31, 0.63, 0.27), DENSE, DENSE)
NARROW = Processor(
    Lists(39000.0, 35.0, 0.4, 0.27, 8.5, 0.98, 2.0, 0.07), Dense(11500.0, 10.6, 0.0, 0.0, 0.38, 0.043),
    Dense(85000.0, 0.0, 0.0, 0.57, 2.3, 0.039), 1.5, 6.0, 2.7, 1.9, 3.5, 1.9, 1.9,
)  # fmt: skip
