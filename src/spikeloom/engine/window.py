"""Where a neuron's surrogate window is open: one bit per neuron and step, written by its kernel's forward."""

from __future__ import annotations

import math
import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import Bits

ALONE = 1 << 15  # words below which one thread does it all


class Window:
    """Of spikes `[T*B, C, ...]` that lie channels last. 0: no gradient of this spike goes anywhere.

    room: what the kernel has filled, `[T, tiles of 512 neurons, 1, 64]` bytes.
    """

    def __init__(self, room: Tensor, shape: torch.Size) -> None:
        self.shape, self._room = shape, room
        self._bits: Bits | None = None

    def bits(self) -> Bits:
        """The same as bits of `[T*B, C, H, W]` or `[T*B, C]`."""
        if self._bits is None:
            n, channels, *sizes = self.shape
            steps, per = self._room.shape[0], -(-channels // 64)
            words = torch.empty(1, n, *sizes, per, dtype=torch.int64)
            threads = torch.get_num_threads() if words.numel() >= ALONE else 1
            pixels = n // steps * math.prod(sizes)
            _function()(_pack(steps, pixels, channels, threads, self._room.data_ptr(), words.data_ptr()))
            self._bits, self._room = Bits(words, channels), self._room[:0].clone()
        return self._bits


@cache
def _function() -> Any:
    return compiled.function(resources.files(__package__).joinpath("window.cpp").read_text(), "words")


_pack = struct.Struct("6q").pack
