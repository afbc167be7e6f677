"""Spikes that the backward pass needs, kept in 1, 2 or 4 bits each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
    if flat is None or not _whole(flat[:1024]) or not _whole(flat):
        return x
    top = int(flat.max())
    bits = 1 if top < 2 else 2 if top < 4 else 4
    per = 8 // bits
    length = -(-flat.numel() // per)
    levels = torch.zeros(per * length, dtype=torch.uint8, device=x.device)
    levels[: flat.numel()] = flat
    code = levels[:length].clone()
    for k in range(1, per):
        code |= levels[k * length : (k + 1) * length] << (k * bits)
    return Packed(code, bits, x.shape, x.stride(), x.dtype)


def unpack(packed: Tensor | Packed) -> Tensor:
    """What `pack` was given, bit for bit."""
    if isinstance(packed, Tensor):
        return packed
    flat = torch.cat([packed.code >> (k * packed.bits) & (2**packed.bits - 1) for k in range(8 // packed.bits)])
    x = torch.empty_strided(packed.shape, packed.stride, dtype=packed.dtype, device=flat.device)
    dense = _flat(x)
    assert dense is not None
    dense.copy_(flat[: x.numel()])
    return x


def packed_spikes() -> Any:
    """Inside this context, what autograd saves is packed where it holds spikes or counts of spikes."""
    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _flat(x: Tensor) -> Tensor | None:
    """The numbers of x in the order in which they lie in memory; None if x has gaps or overlaps."""
    order = sorted(range(x.dim()), key=lambda d: (-x.stride(d), -x.shape[d]))
    dense = x.permute(order)
    return dense.reshape(-1) if dense.is_contiguous() else None


def _whole(x: Tensor) -> bool:
    return bool(((x == x.clamp(0, 15).round()) & ~torch.signbit(x)).all())
