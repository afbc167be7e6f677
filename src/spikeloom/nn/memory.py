"""Spikes that the backward pass needs, kept in 1, 2 or 4 bits each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import packing

LEAST = 4096  # elements; smaller tensors are not worth the call


@dataclass(frozen=True)
class Packed:
    """`code` `[n / per byte]` of a tensor of whole numbers below 2^bits; dense strides."""

    code: Tensor
    bits: int
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


def pack(x: Tensor) -> Tensor | Packed:
    """x packed if it is a dense floating tensor of whole numbers from 0 to 15, as spikes and their counts are; else x itself."""
    if x.numel() < LEAST or not x.is_floating_point() or isinstance(x, torch.nn.Parameter):
        return x
    flat = _flat(x)
    top = None if flat is None or packing.levels(flat[:1024]) is None else packing.levels(flat)
    if flat is None or top is None:
        return x
    bits = 1 if top < 2 else 2 if top < 4 else 4
    return Packed(packing.pack(flat, bits), bits, x.shape, x.stride(), x.dtype)


def unpack(packed: Tensor | Packed) -> Tensor:
    """What `pack` was given, bit for bit."""
    if isinstance(packed, Tensor):
        return packed
    x = torch.empty_strided(packed.shape, packed.stride, dtype=packed.dtype, device=packed.code.device)
    flat = _flat(x)
    assert flat is not None  # pack took dense tensors only
    packing.unpack(packed.code, packed.bits, flat)
    return x


def packed_spikes() -> Any:
    """Inside this context, what autograd saves is packed where it holds spikes or counts of spikes."""
    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _flat(x: Tensor) -> Tensor | None:
    """The numbers of x in the order in which they lie in memory; None if x has gaps or overlaps."""
    order = sorted(range(x.dim()), key=lambda d: (-x.stride(d), -x.shape[d]))
    dense = x.permute(order)
    return dense.view(-1) if dense.is_contiguous() else None
