"""What flows between the layers of a Runner: bits with one factor, a still image, or a dense tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError
from spikeloom.engine.bits import MOST_PLANES, Bits, pack, packed_or_none, unpack


@dataclass(frozen=True, eq=False)
class Events:
    """`scale` times the whole numbers in `bits`, rows T*B; `flat`: seen as `[T*B, C*H*W]`."""

    bits: Bits
    scale: float = 1.0
    flat: bool = False

    def dense(self) -> Tensor:
        """The tensor, float32."""
        x = unpack(self.bits)
        x = x if self.scale == 1 else x * self.scale
        return x.flatten(1) if self.flat else x


@dataclass(frozen=True, eq=False)
class Still:
    """The same `[B, ...]` at every step."""

    x: Tensor


Value = Events | Still | Tensor


def dense(value: Value, steps: int) -> Tensor:
    """`[T*B, ...]`, float32."""
    if isinstance(value, Events):
        return value.dense()
    return torch.cat([value.x] * steps) if isinstance(value, Still) else value


def packed(x: Tensor) -> Value:
    """Bits where x `[T*B, ...]` holds small whole numbers, x itself otherwise."""
    if x.dim() not in (2, 4) or not x.numel():
        return x
    if x.dtype == torch.float32 and (spikes := packed_or_none(x)) is not None:
        return Events(spikes)
    most = float(x.abs().max())
    if not most < 2**MOST_PLANES:
        return x
    try:
        return Events(pack(x, max(1, int(most).bit_length()), bool((x < 0).any())))
    except ParameterError:  # fractions
        return x
