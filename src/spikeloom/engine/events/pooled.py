"""A max-pool of a neuron's spikes with gradients: the largest bits of each window, whose gradients go to the first that is as large."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import cache as compiled
from spikeloom.engine import emitted
from spikeloom.engine.bits import Bits, unpack
from spikeloom.engine.events.conv import Pair
from spikeloom.engine.events.pool import max_pool2d

ALONE = 1 << 15  # words below which one thread does it all


def largest(x: Tensor, kernel_size: Pair, stride: Pair, padding: Pair = (0, 0)) -> Tensor:
    """`F.max_pool2d` and its gradient, both bit for bit; on bits, which are handed on, where `emitted.of(x)` knows them."""
    known = emitted.of(x)
    if known is None or known.spikes is None or x.dim() != 4:
        return F.max_pool2d(x, kernel_size, stride, padding)
    bits = known.spikes
    found = max_pool2d(bits, kernel_size, stride, padding)
    threads = torch.get_num_threads() if bits.words.numel() >= ALONE else 1
    n, channels, height, width = bits.shape
    facts = (
        threads, n, height, width, bits.words.shape[-1], *found.shape[2:], *kernel_size, *stride, *padding, bits.planes, bits.planes, 0,
        channels,
    )  # fmt: skip
    y = _Largest.apply(x, bits.words, found, facts)
    emitted.put(y, found, known.window and _opened(bits.words, found, facts, known.window), known.watches)
    return y


class _Largest(torch.autograd.Function):
    """words: those of x, `found` those of the result; they are what is saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, words: Tensor, found: Bits, facts: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(words, found.words)
        ctx.facts, ctx.shape = facts, x.shape
        return unpack(found)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise SpikeloomError("a pool of bits has no second derivatives; drop create_graph=True, or set engine='dense'")
        n, channels, height, width = ctx.shape
        rows = grad.contiguous(memory_format=torch.channels_last).movedim(1, -1).contiguous()
        pulled = torch.empty(n, height, width, channels)
        _call("pulled", ctx.facts, *ctx.saved_tensors, rows, pulled)
        return pulled.movedim(-1, 1), None, None, None


def _opened(words: Tensor, found: Bits, facts: tuple[int, ...], window: Bits) -> Bits:
    """Where the window of the neuron is open whose value is the largest."""
    out = torch.empty_like(found.words[:1])
    _call("opened", facts, words, found.words, window.words, out)
    return Bits(out, found.channels)


def _call(name: str, facts: tuple[int, ...], *tensors: Tensor) -> None:
    _function(name)(_pack(*facts, *(t.data_ptr() for t in tensors)))


@cache
def _function(name: str) -> Any:
    return compiled.function(resources.files(__package__).joinpath("pool.cpp").read_text(), name)


_pack = struct.Struct("21q").pack
