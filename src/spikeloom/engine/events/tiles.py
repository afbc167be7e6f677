"""Weights for the dense products of tiles.h, and whether this machine has tiles."""

from __future__ import annotations

from functools import cache
from importlib import resources

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.engine import cache as compiled

CHUNK = 64  # inputs of a product, as in tiles.h
PARTS = {torch.float32: 3, torch.int8: 1}  # products of a weight
MOST = (2**31 - 1) // (127 * 128)  # inputs of an output whose products int32 holds
COLUMNS = ROWS = 16  # outputs and pixels of a tile
LONG = 12  # pixels of an output row from which on a tile lies in one, as in tiles.h


@cache
def state() -> int:
    """0: no tiles in this processor, plain loops do the same, slowly; 1: Intel AMX; 2: the system does not let it be used."""
    try:
        return compiled.function(text("conv.cpp"), "tiles")(b"")
    except compiled.CannotCompile:
        return 0


@cache
def text(*last: str) -> str:
    """The source of a kernel that sums what reaches an output: the headers, then the files of this folder named."""
    files = ("gather.h", "lists.h", "tables.h", "tiles.h", *last)
    return "".join(resources.files(__package__).joinpath(file).read_text() for file in files)


def split(kernel: Tensor, stride: int) -> Tensor:
    """An int8 weight `[Cout, Cin, kh, kw]` as tiles, for each block of `stride` outputs as tiles.h has them; what fills up is 0."""
    cout, cin, _, kw = kernel.shape
    side = together(cin, kw)
    x = F.pad(kernel, (0, -kw % side, 0, 0, 0, -cin % (CHUNK // side), 0, -cout % stride))  # filled up
    x = x.unflatten(3, (-1, side)).movedim(4, 1).flatten(1, 2).flatten(2)  # [Cout, side * Cin, taps / side]
    x = x.unflatten(0, (-1, stride // COLUMNS, COLUMNS)).unflatten(3, (-1, ROWS, CHUNK // ROWS))  # [b, column, o, chunk, row, four, taps]
    return x.permute(0, 1, 6, 3, 4, 2, 5).contiguous()  # [b, column, taps, chunk, row, o, four]


def chunks(inputs: int, height: int, width: int) -> int:
    """Products of a tile of pixels and 16 outputs, one digit each, for a kernel of this size; as Chunks in tiles.h."""
    return height * -(-width // together(inputs, width)) * -(-inputs // CHUNK)


def together(inputs: int, width: int) -> int:
    """Taps of a row of a kernel `width` wide that share a chunk, where few inputs leave it half empty or more."""
    return 1 if width == 1 or inputs > CHUNK // 2 else 2 if inputs > CHUNK // 4 else 4
