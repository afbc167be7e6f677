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
    pool = _Pool(known.spikes, kernel_size, stride, padding)
    y = _Largest.apply(x, pool)
    window = None if known.window is None else pool.opened(known.window)
    emitted.put(y, pool.found, window, known.watches)
    return y


class _Pool:
    """One call: `bits` are read, `found` is what comes out."""

    def __init__(self, bits: Bits, kernel: Pair, stride: Pair, padding: Pair) -> None:
        self.found = max_pool2d(bits, kernel, stride, padding)
        n, self.channels, height, width = bits.shape
        threads = torch.get_num_threads() if bits.words.numel() >= ALONE else 1
        self.facts = (
            threads, n, height, width, bits.words.shape[-1], *self.found.shape[2:], *kernel, *stride, *padding, bits.planes, bits.planes, 0,
        )  # fmt: skip
        self.words, self.shape = bits.words, bits.shape

    def opened(self, window: Bits) -> Bits:
        """Where the window of the neuron is open whose value is the largest."""
        out = torch.empty_like(self.found.words[:1])
        self._call("opened", window.words, out)
        return Bits(out, self.channels)

    def pulled(self, grad: Tensor) -> Tensor:
        """The gradient `[N, C, H, W]` (channels_last) of the input, for that of the output."""
        rows = grad.contiguous(memory_format=torch.channels_last).movedim(1, -1).contiguous()
        n, channels, height, width = self.shape
        out = torch.empty(n, height, width, channels)
        self._call("pulled", rows, out)
        return out.movedim(-1, 1)

    def _call(self, name: str, *tensors: Tensor) -> None:
        _function(name)(_pack(*self.facts, self.channels, *(t.data_ptr() for t in (self.words, self.found.words, *tensors))))


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: _Pool) -> Tensor:
        ctx.pool = pool
        return unpack(pool.found)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise SpikeloomError("a pool of bits has no second derivatives; drop create_graph=True, or set engine='dense'")
        return ctx.pool.pulled(grad), None


@cache
def _function(name: str) -> Any:
    return compiled.function(resources.files(__package__).joinpath("pool.cpp").read_text(), name)


_pack = struct.Struct("21q").pack
