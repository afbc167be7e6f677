"""The gradient of a layer's input where it is wanted: at the elements whose neuron has an open surrogate window, 0 elsewhere."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import Bits
from spikeloom.engine.events.gradient import ALONE, tiling

Pair = tuple[int, int]
SPAN, NEAR = 192, 49152  # floats of a row of taps; bytes of the gradient's rows that stay in L1 while all channels walk over them


def conv2d_input(wanted: Bits, grad: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """The gradient `[N, Cin, H, W]` (channels_last) of an input where `wanted` is 1, 0 elsewhere; for grad `[N, Cout, H', W']` and a
    float32 weight `[Cout, Cin, kh, kw]`.

    The order of the sums depends on no number of threads. `gradient.refused` says what cannot be done; groups are not.
    """
    cout, cin, kh, kw = weight.shape
    n, _, height, width = wanted.shape
    found = torch.empty(n, height, width, cin)
    if not found.numel() or not grad.numel():
        return found.zero_().movedim(-1, 1)
    grad = grad.contiguous(memory_format=torch.channels_last)
    rows = grad.movedim(1, -1)
    rows, words = rows if rows.is_contiguous() else rows.contiguous(), wanted.words.contiguous()
    tiles = tiling(wanted.shape, weight.shape, stride, padding, 1, NEAR, SPAN)
    threads = torch.get_num_threads() if wanted.events() * kh * kw * cout >= ALONE else 1
    facts = threads, n, height, width, cin, *rows.shape[1:3], 1, cin, cout, kh, kw, *stride, *padding, 1, *tiles[:-1]
    if _function()(_pack(*facts, words.data_ptr(), rows.data_ptr(), weight.data_ptr(), found.data_ptr(), *weight.stride())):
        raise MemoryError(f"no memory for the gradient of {list(wanted.shape)}")
    return found.movedim(-1, 1)


@cache
def _function() -> Any:
    text = "".join(resources.files(__package__).joinpath(file).read_text() for file in ("gather.h", "rows.h", "input.cpp"))
    return compiled.function(text, "inputs")


_pack = struct.Struct("34q").pack
