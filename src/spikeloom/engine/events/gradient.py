"""The gradient of a layer's weights from the bits of its input: every event adds rows of the output's gradient."""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

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
    tiles = tiling(bits.shape, weight.shape, stride, padding, groups, NEAR)
    work = (bits.events() if events is None else events) * kh * kw * outputs
    threads = torch.get_num_threads() if work >= ALONE else 1
    found = torch.empty_like(weight)
    n, channels, height, width = bits.shape
    facts = (
        threads, n, height, width, channels, *rows.shape[1:3], groups, inputs, outputs, kh, kw, *stride, *padding, bits.planes,
        *tiles[:-1],
    )  # fmt: skip
    if _function()(_pack(*facts, words.data_ptr(), rows.data_ptr(), found.data_ptr(), *found.stride())):
        raise MemoryError(f"no memory for the gradient of {list(weight.shape)}")
    return found


class Tiling(NamedTuple):
    """height, width: of the grid of input pixels of one class; low*, high*: shifts of the taps; strip: its rows that lie together; piece:
    strips worked on at a time, of `pieces`; block: outputs that stay in registers for a row of taps."""

    height: int
    width: int
    low_y: int
    high_y: int
    low_x: int
    high_x: int
    strip: int
    piece: int
    block: int
    pieces: int


@lru_cache(maxsize=1024)
def tiling(shape: torch.Size, weight: torch.Size, stride: Pair, padding: Pair, groups: int, near: int, span: int = SPAN) -> Tiling:
    """For bits `[N, Cin, H, W]` and a weight `[Cout, Cin / groups, kh, kw]`. near: bytes of a piece of a block; span: floats of a row of
    taps."""
    n, _, *size = shape
    outputs = weight[0] // groups
    block = min(VECTOR * max(1, span // VECTOR // -(-weight[3] // stride[1])), -(-outputs // VECTOR) * VECTOR, 4 * VECTOR)
    (height, low_y, high_y), (width, low_x, high_x) = (
        (-(-d // s), -((k - 1 - p) // s), -(-p // s)) for d, k, s, p in zip(size, weight[2:], stride, padding, strict=True)
    )
    pitch = (width + high_x - low_x) * block * 4
    strip = max(1, min(height, near // pitch - (high_y - low_y)))
    strips = n * -(-height // strip)
    piece = max(1, min(strips, near // (pitch * (strip + high_y - low_y))))
    return Tiling(height, width, low_y, high_y, low_x, high_x, strip, piece, block, -(-strips // piece))


@cache
def _function() -> Any:
    text = "".join(resources.files(__package__).joinpath(file).read_text() for file in ("gather.h", "rows.h", "gradient.cpp"))
    return compiled.function(text, "weights")


_pack = struct.Struct("33q").pack
