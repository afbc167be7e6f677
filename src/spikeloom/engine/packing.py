"""Spikes and their counts in 1, 2 or 4 bits each, compiled on a CPU with a compiler, by torch elsewhere."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp
from spikeloom.engine.printer import COMPUTE

MOST = 15  # the largest number that is packed


def levels(x: Tensor) -> int | None:
    """The largest of the contiguous x if all are whole numbers from 0 to 15; None otherwise, and where one is -0."""
    if _compiled(x):
        top = _function("levels", x.dtype)(_three(x.numel(), torch.get_num_threads(), x.data_ptr()))
        return top if top >= 0 else None
    whole = (x == x.clamp(0, MOST).round()) & ~torch.signbit(x)
    return int(x.max()) if whole.all() else None


def pack(x: Tensor, bits: int) -> Tensor:
    """Bytes of the contiguous x `[n]`, whose numbers fit into `bits` each: 1, 2 or 4."""
    per = 8 // bits
    length = -(-x.numel() // per)
    if _compiled(x):
        code = torch.empty(length, dtype=torch.uint8)
        _function("pack", x.dtype)(_five(x.numel(), torch.get_num_threads(), bits, x.data_ptr(), code.data_ptr()))
        return code
    numbers = torch.zeros(per * length, dtype=torch.uint8, device=x.device)
    numbers[: x.numel()] = x
    code = numbers[:length].clone()
    for k in range(1, per):
        code |= numbers[k * length : (k + 1) * length] << (k * bits)
    return code


def unpack(code: Tensor, bits: int, x: Tensor) -> None:
    """Fill the contiguous x `[n]` with the numbers of `pack`."""
    if _compiled(x):
        _function("unpack", x.dtype)(_five(x.numel(), torch.get_num_threads(), bits, x.data_ptr(), code.data_ptr()))
        return
    x.copy_(torch.cat([code >> (k * bits) & (2**bits - 1) for k in range(8 // bits)])[: x.numel()])


def _compiled(x: Tensor) -> bool:
    if not x.is_cpu or x.dtype not in COMPUTE:
        return False
    try:
        return _function("pack", x.dtype) is not None
    except compiled.CannotCompile:
        return False


@cache
def _function(name: str, storage: torch.dtype) -> Any:
    text = resources.files(__package__).joinpath("pack.cpp").read_text()
    return compiled.function(cpp.head(storage) + text, name)


_three, _five = struct.Struct("3q").pack, struct.Struct("5q").pack
