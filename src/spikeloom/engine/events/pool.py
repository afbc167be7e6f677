"""Pools of bits that stay bits: the largest value (OR of plain spikes), and sums as counts with more planes."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch.nn import functional as F

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import MOST_PLANES, Bits, pack, unpack
from spikeloom.engine.events.conv import Pair, pair

_SMALL = 1 << 15  # words below which a second thread costs more than it saves


def max_pool2d(bits: Bits, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Bits:
    """The largest value of each window of unsigned bits `[N, C, H, W]`, as torch's `max_pool2d`."""
    return _pool("largest", bits, kernel_size, stride, padding, bits.planes)


def sum_pool2d(bits: Bits, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Bits:
    """The sum of each window of bits `[N, C, H, W]`: an average pool whose 1 / (kh kw) goes into the weights of the next layer."""
    kh, kw = pair("events kernel_size", kernel_size, 1)
    planes = (kh * kw * (2**bits.planes - 1)).bit_length()
    if planes > MOST_PLANES:
        advice = "pool a smaller window, or unpack"
        raise ShapeError(refusal("events.sum_pool2d kernel_size", (kh, kw), f"such that sums are below 2^{MOST_PLANES}", advice))
    return _pool("sum", bits, kernel_size, stride, padding, planes)


def _pool(name: str, bits: Bits, kernel: Any, stride: Any, padding: Any, planes: int) -> Bits:
    kernel = pair("events kernel_size", kernel, 1)
    stride = kernel if stride is None else pair("events stride", stride, 1)
    padding = pair("events padding", padding, 0)
    if bits.words.dim() != 5 or (bits.signed and name == "largest"):
        given, allowed = f"{'signed ' if bits.signed else ''}{list(bits.shape)}", "[N, C, H, W], unsigned for a maximum"
        raise ShapeError(refusal("events pool bits", given, allowed, "unpack them first"))
    n, channels, height, width = bits.shape
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(refusal("events padding", padding, f"at most half the kernel {kernel}"))
    size = [(d + 2 * p - k) // s + 1 for d, p, k, s in zip((height, width), padding, kernel, stride, strict=True)]
    if min(size) < 1:
        raise ShapeError(refusal("events pool bits", list(bits.shape), f"at least as large as the kernel {kernel} with its padding"))
    function = _function(name) if bits.words.is_cpu else None
    if function is None:
        return _dense(name, bits, kernel, stride, padding, planes)
    words = bits.words.contiguous()
    out = torch.empty([planes + bits.signed, n, *size, words.shape[-1]], dtype=torch.int64)
    threads = torch.get_num_threads() if words.numel() >= _SMALL else 1
    facts = (threads, n, height, width, words.shape[-1], *size, *kernel, *stride, *padding, bits.planes, planes, bits.signed)
    function(_struct(*facts, words.data_ptr(), out.data_ptr()))
    return Bits(out, channels, planes, bits.signed)


def _dense(name: str, bits: Bits, kernel: Pair, stride: Pair, padding: Pair, planes: int) -> Bits:
    x = unpack(bits)
    if name == "largest":
        return pack(F.max_pool2d(x, kernel, stride, padding), planes)
    return pack(F.avg_pool2d(x, kernel, stride, padding, divisor_override=1), planes, bits.signed)


@cache
def _found(name: str) -> Any:
    return compiled.function(resources.files(__package__).joinpath("pool.cpp").read_text(), name)


def _function(name: str) -> Any:
    try:
        return _found(name)
    except compiled.CannotCompile:
        return None


_struct = struct.Struct("18q").pack
