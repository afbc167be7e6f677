"""Weights for the dense products of tiles.h, and whether this machine has tiles."""

from __future__ import annotations

from functools import cache
from importlib import resources

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.engine import cache as compiled
from spikeloom.engine.events.weights import REAL

CHUNK = {torch.float32: 32, torch.int8: 64}  # inputs of a product, as in tiles.h
PARTS = 3  # bfloat16 numbers that sum to a float32 one
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
    return "".join(resources.files(__package__).joinpath(file).read_text() for file in ("gather.h", "lists.h", "tiles.h", *last))


def split(kernel: Tensor, stride: int) -> Tensor:
    """A weight `[Cout, Cin, kh, kw]` as tiles: float32 as bfloat16 `[blocks, stride / 16, kh * kw, chunks, PARTS, 16 rows, 16, 2]`, int8 as
    int8 `[blocks, stride / 16, kh * kw, chunks, 16 rows, 16, 4]`; what fills up is 0."""
    size = CHUNK[kernel.dtype]
    pair = size // COLUMNS  # inputs side by side in a row of a tile
    cout, cin = kernel.shape[:2]
    x = F.pad(kernel.flatten(2), (0, 0, 0, -cin % size, 0, -cout % stride))  # [Cout, Cin, taps], filled up
    x = x.unflatten(0, (-1, stride // COLUMNS, COLUMNS)).unflatten(3, (-1, COLUMNS, pair))  # [b, column, o, chunk, row, pair, taps]
    x = x.permute(0, 1, 6, 3, 4, 2, 5)  # [b, column, taps, chunk, row, o, pair]
    return torch.stack(thirds(x), 4).contiguous() if kernel.dtype == REAL else x.contiguous()


def thirds(x: Tensor) -> list[Tensor]:
    """bfloat16 tensors that sum to float32 x: 8 bits of its 24 each."""
    parts = []
    for _ in range(PARTS):
        parts.append(x.to(torch.bfloat16))
        x = x - parts[-1].float()
    return parts
