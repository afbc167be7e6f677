"""What a fused neuron's kernel writes beside its spikes, and a pool of them hands on: their bits, and where surrogate windows are open.

It is kept by the spikes' `grad_fn`, so that it is lost with the first operation that nobody here knows.
"""

from __future__ import annotations

import math
import struct
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import Bits

ALONE = 1 << 15  # words below which one thread does it all
KEY = "spikeloom"


class Watch(NamedTuple):
    """Sees whether anyone in Python looks at the gradient of a tensor. tensor: not kept alive; hooks: those of it."""

    tensor: weakref.ref[Tensor]
    hooks: dict[int, Any]

    def __bool__(self) -> bool:
        """A hook, or a tensor that someone holds and may ask for its gradient."""
        return self.tensor() is not None or len(self.hooks) > 0


@dataclass(frozen=True, eq=False)
class Emitted:
    """Of a tensor `[T*B, C, H, W]` or `[T*B, C]`. spikes: its very values; None where only the windows are known.

    window: 0 where no gradient of this element goes anywhere, None where that is not known; watches: of this tensor, and of those whose
    gradients are made of its own on the way back to the neurons.
    """

    spikes: Bits | None
    window: Bits | None
    watches: tuple[Watch, ...] = ()
    version: int = 0  # of the tensor; another one when it has been written to


def put(x: Tensor, spikes: Bits | None, window: Bits | None, watches: tuple[Watch, ...] = ()) -> None:
    """Let `of(x)` find it. x: the result of an operation that has a gradient, before anyone can have touched it."""
    if window is not None:
        if x._backward_hooks is None:
            x._backward_hooks = OrderedDict()  # what a later register_hook fills
        watches = (Watch(weakref.ref(x), x._backward_hooks), *watches)
    x.grad_fn.metadata[KEY] = Emitted(spikes, window, watches, x._version)  # type: ignore[union-attr]


def of(x: Tensor) -> Emitted | None:
    """What is known of x; None where that is nothing: x is no such result, or was written to."""
    known = x.grad_fn.metadata.get(KEY) if x.grad_fn is not None and x.output_nr == 0 else None
    return known if known is not None and known.version == x._version else None


def read(words: Tensor, planes: int, shape: torch.Size) -> tuple[Bits | None, Bits | None]:
    """Spikes and window from what a kernel wrote, `[planes and maybe one, T, ceil(neurons / 64)]`, of spikes `[T*B, C, ...]` that lie
    channels last."""
    n, channels, *sizes = shape
    per = -(-channels // 64)
    if channels % 64:
        steps, given = words.shape[0] * words.shape[1], words
        words = torch.empty(len(given), n, *sizes, per, dtype=torch.int64)
        threads = torch.get_num_threads() if words.numel() >= ALONE else 1
        pixels = n // given.shape[1] * math.prod(sizes)
        _function()(_pack(steps, pixels, channels, threads, given.data_ptr(), words.data_ptr()))
    words = words.view(-1, n, *sizes, per)
    window = Bits(words[planes:], channels) if len(words) > planes else None
    return Bits(words[:planes], channels, planes) if planes else None, window


@cache
def _function() -> Any:
    return compiled.function(resources.files(__package__).joinpath("emitted.cpp").read_text(), "begun")


_pack = struct.Struct("6q").pack
