"""The gradient of a layer's weights from the bits of its input: every event adds rows of the output's gradient."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import Bits

Pair = tuple[int, int]
VECTOR, SPAN, TAPS = 16, 96, 8  # floats of 64 bytes; of a row of taps that stays in registers; most taps of a row
NEAR = 1 << 17  # bytes of the gradient's rows that stay in L2 while all channels walk over them
ALONE = 1 << 21  # additions below which one thread does it all


def refused(kernel: torch.Size, dilation: Pair) -> str:
    """Why a kernel `[..., kh, kw]` has no event-driven gradient; "" where it has one."""
    if any(d > 1 < k for d, k in zip(dilation, kernel[-2:], strict=True)):
        return "its kernel is dilated"
    if kernel[-1] > TAPS:
        return f"its kernel is wider than {TAPS}"
    try:
        _function()
    except compiled.CannotCompile as error:
        return str(error).replace("the reference loop runs", "it stays dense")
    return ""


def conv2d_weight(bits: Bits, grad: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int, events: int | None = None) -> Tensor:
    """The gradient `[Cout, Cin / groups, kh, kw]` of `weight` by the events of `bits` `[N, Cin, H, W]`, for grad `[N, Cout, H', W']`.

    float32, laid out as `weight`. The order of the sums depends on no number of threads. `refused` says what cannot be done.
    Raises ShapeError for bits with signs.
    """
    if bits.signed:
        raise ShapeError(refusal("events.conv2d_weight bits", f"signed {list(bits.shape)}", "unsigned", "unpack them first"))
    cout, inputs, kh, kw = weight.shape
    if not grad.numel() or not inputs:
        return torch.zeros_like(weight)
    grad = grad.contiguous(memory_format=torch.channels_last)
    rows = grad.movedim(1, -1)
    rows = rows if rows.is_contiguous() else rows.contiguous()
    words, outputs = bits.words.contiguous(), cout // groups
    block = min(VECTOR * max(1, SPAN // VECTOR // -(-kw // stride[1])), -(-outputs // VECTOR) * VECTOR, 4 * VECTOR)
    grid, low, high = [], [], []
    for size, k, s, p in zip(bits.shape[2:], (kh, kw), stride, padding, strict=True):
        grid.append(-(-size // s))
        low.append(-((k - 1 - p) // s))
        high.append(-(-p // s))
    pitch = (grid[1] + high[1] - low[1]) * block * 4
    strip = max(1, min(grid[0], NEAR // pitch - (high[0] - low[0])))
    strips = bits.shape[0] * -(-grid[0] // strip)
    piece = max(1, min(strips, NEAR // (pitch * (strip + high[0] - low[0]))))
    work = (bits.events() if events is None else events) * kh * kw * outputs
    threads = torch.get_num_threads() if work >= ALONE else 1
    found = torch.empty_like(weight)
    n, channels, height, width = bits.shape
    facts = (
        threads, n, height, width, channels, *rows.shape[1:3], groups, inputs, outputs, kh, kw, *stride, *padding, bits.planes,
        *grid, low[0], high[0], low[1], high[1], strip, piece, block,
    )  # fmt: skip
    if _function()(_pack(*facts, words.data_ptr(), rows.data_ptr(), found.data_ptr(), *found.stride())):
        raise MemoryError(f"no memory for the gradient of {list(weight.shape)}")
    return found


@cache
def _function() -> Any:
    text = "".join(resources.files(__package__).joinpath(file).read_text() for file in ("gather.h", "gradient.cpp"))
    return compiled.function(text, "weights")


_pack = struct.Struct("33q").pack
