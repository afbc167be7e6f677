"""float32 weights as the tiles of tiles.h, and the gradient of a convolution's input by products of such digits."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine.events import tiles

Pair = tuple[int, int]
MOST = tiles.MOST // 3  # inputs of an output whose sums of three products int32 holds
PIECE = 1 << 19  # bytes of spread out digits that stay in L2
ALONE = 1 << 21  # products below which one thread does it all


def laid(kernel: Tensor, stride: int) -> Tensor:
    """A float32 weight `[Cout, Cin, kh, kw]` as tiles, int8 `[columns, bytes]`, for blocks of `stride` outputs; what fills up is 0.

    A weight is rounded by at most 1.2e-7 of the largest one of its output: as float32 itself rounds that. An output with a weight that is
    no number gives NaN.
    """
    return _laid(kernel.detach(), kernel.stride(), 0, -(-kernel.shape[0] // stride) * stride)


def conv2d_input(grad: Tensor, weight: Tensor, padding: Pair, size: tuple[int, int]) -> Tensor:
    """The gradient `[N, Cin, H, W]` (channels_last) of an input of this `size`; for grad `[N, Cout, H', W']` and a float32 weight
    `[Cout, Cin, kh, kw]`, of stride 1, with a padding smaller than the kernel.

    Whole numbers throughout, the same for any number of threads. Both factors are rounded to 24 bits of the largest gradient of the image
    and the largest weight to the input: the error is at most 2^-20 times the product of these two for each of the sum's terms, and in
    effect about 2^-24 times the root of their number. An image with a gradient that is no number gives NaN. `tiles.state()` must not be 2.
    """
    cout, cin, kh, kw = weight.shape
    n = len(grad)
    found = torch.empty(n, *size, cin)
    if not found.numel() or not grad.numel():
        return found.zero_().movedim(-1, 1)
    grad = grad.contiguous(memory_format=torch.channels_last)
    x = grad.movedim(1, -1)
    x = x if x.is_contiguous() else x.contiguous()
    height, width = x.shape[1:3]
    so, si, sy, sx = weight.stride()
    last = (kh - 1) * sy + (kw - 1) * sx  # taps run backwards, outputs are inputs
    turned = _laid(weight.detach().transpose(0, 1), (si, so, -sy, -sx), last, -(-cin // tiles.COLUMNS) * tiles.COLUMNS)
    threads = torch.get_num_threads() if found.numel() * cout * kh * kw >= ALONE else 1
    row = 3 * -(-cout // tiles.CHUNK) * tiles.CHUNK * size[1] * (1 if size[1] >= tiles.LONG else kh * kw)
    rows = max(1, PIECE // row)
    images = max(1, min(rows // size[0], -(-n // threads)))
    facts = (
        threads, n, height, width, cout, *size, 1, cout, cin, kh, kw, 1, 1, kh - 1 - padding[0], kw - 1 - padding[1], 1, 1, 1, 0, 0, images,
        tiles.COLUMNS,
    )  # fmt: skip
    arrays = x, turned, found
    if _function("convolve")(struct.pack("27q", *facts, rows, *[array.data_ptr() for array in arrays])):
        raise MemoryError(f"no memory for the gradient of {[n, cin, *size]}")
    return found.movedim(-1, 1)


def _laid(kernel: Tensor, steps: tuple[int, ...], first: int, outputs: int) -> Tensor:
    """steps: from one to the next weight of each axis of `kernel`, from the one at `first` on."""
    cout, cin, kh, kw = kernel.shape
    columns = outputs // tiles.COLUMNS
    found = torch.empty(columns, 3 * tiles.chunks(cin, kh, kw) * 1024 + 4 * tiles.COLUMNS, dtype=torch.int8)
    threads = torch.get_num_threads() if kernel.numel() >= 1 << 16 else 1
    address = kernel.data_ptr() + first * kernel.element_size()
    _function("lay")(struct.pack("12q", threads, cout, cin, kh, kw, columns, *steps, address, found.data_ptr()))
    return found


@cache
def _function(name: str) -> Any:
    return compiled.function(tiles.text("digits.cpp"), name)
