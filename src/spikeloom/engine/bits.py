"""Spikes, counts and signed counts as bits: the one format of the event-driven operators, and the one place that packs and unpacks.

`words` is int64 `[planes, N, H, W, ceil(C / 64)]`, for linear layers `[planes, N, ceil(C / 64)]`. Channel c is bit c % 64 of word c // 64;
bits of channels that are not there are 0. A value is the sum of 2^p times plane p; signed values have one more plane at the end that says
"negative". Plain spikes have one plane. N is time-major T*B, as everywhere.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.engine import cache as compiled

WORD, MOST_PLANES = 64, 7
_KIND = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_SMALL = 1 << 15  # words below which a second thread costs more than it saves


@dataclass(frozen=True, eq=False)
class Bits:
    """A tensor `[N, C, H, W]` or `[N, C]` of small whole numbers; see the module for `words`.

    planes: bits of a magnitude; signed: whether a plane of signs follows them; counted: its events, where they are known.
    """

    words: Tensor
    channels: int
    planes: int = 1
    signed: bool = False
    counted: int | None = None

    def __post_init__(self) -> None:
        planes, last, shape = self.planes + self.signed, -(-self.channels // WORD), self.words.shape
        if len(shape) not in (3, 5) or shape[0] != planes or shape[-1] != last or self.words.dtype != torch.int64:
            allowed = f"int64 of shape [{planes}, N, {last}] or [{planes}, N, H, W, {last}]"
            raise ShapeError(refusal("words", f"{self.words.dtype} {list(self.words.shape)}", allowed))

    @property
    def shape(self) -> torch.Size:
        """Of the tensor that is packed: `[N, C, H, W]` or `[N, C]`."""
        n, *spatial = self.words.shape[1:-1]
        return torch.Size([n, self.channels, *spatial])

    def events(self) -> int:
        """Bits that are set, without those of the signs: what an event-driven operator has to add. Counted once."""
        if self.counted is None:
            object.__setattr__(self, "counted", self._count())
        return self.counted  # type: ignore[return-value]

    def total(self) -> int:
        """The sum of the magnitudes."""
        if self.planes == 1:
            return self.events()
        return sum(Bits(plane.unsqueeze(0), self.channels).events() << p for p, plane in enumerate(self.words[: self.planes]))

    def _count(self) -> int:
        words = self.words
        if not words.is_contiguous() or (kernel := _function("count", words)) is None:
            return int(_ones(words[: self.planes]).sum())
        size, found = words.numel() // (self.planes + self.signed) * self.planes, ctypes.c_int64()
        kernel(_four(size, _threads(size), words.data_ptr(), ctypes.addressof(found)))
        return found.value

    def density(self) -> float:
        """Events per element; above 1 only for counts."""
        return self.events() / max(1, self.shape.numel())


def pack(x: Tensor, planes: int = 1, signed: bool = False) -> Bits:
    """The bits of x `[N, C, H, W]` or `[N, C]`, of any strides, in float32, bfloat16 or int8.

    Raises ParameterError where x holds anything but whole numbers of magnitude below 2^planes, or negative ones that are not asked for.
    """
    if x.dim() not in (2, 4) or x.dtype not in _KIND:
        given = f"{x.dtype} {list(x.shape)}"
        raise ShapeError(refusal("pack", given, "float32, bfloat16 or int8 of shape [N, C, H, W] or [N, C]", "convert or flatten it first"))
    if not 1 <= planes <= MOST_PLANES:
        raise ParameterError(refusal("pack planes", planes, f"a whole number from 1 to {MOST_PLANES}"))
    bits = _packed(x.detach(), planes, signed)
    if bits is None:
        low = -(2**planes - 1) if signed else 0
        advice = "give more planes, or signed=True for negative numbers; other values stay dense"
        strange = _strange(x.detach(), low, 2**planes - 1)
        raise ParameterError(refusal("pack", strange, f"a whole number from {low} to {2**planes - 1}", advice))
    return bits


def packed_or_none(x: Tensor, planes: int = 1, signed: bool = False) -> Bits | None:
    """`pack(x, planes, signed)`, or None where x holds other numbers."""
    return _packed(x.detach(), planes, signed)


def _packed(x: Tensor, planes: int, signed: bool) -> Bits | None:
    kernel = _function("pack", x)
    words, sound = _pack_reference(x, planes, signed) if kernel is None else _pack_compiled(kernel, x, planes, signed)
    return Bits(words, x.shape[1], planes, signed) if sound else None


def unpack(bits: Bits, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor `[N, C, H, W]` (channels_last) or `[N, C]`, in float32, bfloat16 or int8."""
    if dtype not in _KIND:
        raise ParameterError(refusal("unpack dtype", dtype, "float32, bfloat16 or int8"))
    shape = bits.shape
    words = bits.words.contiguous()
    kernel = _function("unpack", words)
    if kernel is None:
        x = _unpack_reference(bits).to(dtype)
    else:
        x = torch.empty([shape[0], *shape[2:], shape[1]], dtype=dtype)
        facts = _threads(words.numel()), *(*shape, 1, 1)[:4], bits.planes, bits.signed, 0, 0, 0, 0
        kernel(_fourteen(*facts, _KIND[dtype], x.data_ptr(), words.data_ptr()))
    return x.movedim(-1, 1)


def join(parts: Sequence[Bits]) -> Bits:
    """Bits one after the other along the channels, as many planes as the widest has."""
    planes, signed, channels = max(p.planes for p in parts), any(p.signed for p in parts), sum(p.channels for p in parts)
    if any(p.channels % WORD for p in parts[:-1]):
        return pack(torch.cat([unpack(p, torch.int8) for p in parts], 1), planes, signed)
    return Bits(torch.cat([_widened(p, planes, signed) for p in parts], -1), channels, planes, signed)


def _widened(bits: Bits, planes: int, signed: bool) -> Tensor:
    none = torch.zeros_like(bits.words[:1])
    sign = bits.words[bits.planes :] if bits.signed else none[: int(signed)]
    return torch.cat([bits.words[: bits.planes], *[none] * (planes - bits.planes), sign])


def _pack_compiled(kernel: Any, x: Tensor, planes: int, signed: bool) -> tuple[Tensor, bool]:
    shape = (*x.shape, 1, 1)[:4]
    if x.stride(1) != 1 and x.stride(-1) != 1 and x.shape[1] > 1:
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()
    words = torch.empty([planes + signed, x.shape[0], *x.shape[2:], -(-x.shape[1] // WORD)], dtype=torch.int64)
    stride = (*x.stride(), 1, 1)[:4]
    if x.dim() == 4 and stride[1] != 1 and stride[2] == shape[3] * stride[3]:  # rows follow each other: one long row
        shape = (*shape[:2], 1, shape[2] * shape[3])
    bad = kernel(_fourteen(_threads(words.numel()), *shape, planes, signed, *stride, _KIND[x.dtype], x.data_ptr(), words.data_ptr()))
    return words, not bad


def _pack_reference(x: Tensor, planes: int, signed: bool) -> tuple[Tensor, bool]:
    size = x.abs().float()
    sound = (size == size.round()) & (size < 2**planes) & ((x >= 0) | signed)
    whole = torch.where(sound, size, 0.0).long()
    levels = [whole >> p & 1 for p in range(planes)] + ([(x < 0).long()] if signed else [])
    stack = torch.stack(levels).movedim(2, -1)
    stack = F.pad(stack, (0, -x.shape[1] % WORD)).unflatten(-1, (-1, WORD))
    return (stack << torch.arange(WORD, device=x.device)).sum(-1), bool(sound.all())


def _unpack_reference(bits: Bits) -> Tensor:
    planes = (bits.words.unsqueeze(-1) >> torch.arange(WORD, device=bits.words.device) & 1).flatten(-2)[..., : bits.channels]
    value = sum(planes[p] << p for p in range(bits.planes))
    return torch.where(planes[-1] > 0, -value, value) if bits.signed else value


def _strange(x: Tensor, low: int, high: int) -> float:
    """The first value that cannot be packed."""
    wide = x.float()
    return wide[~((wide == wide.round()) & (wide >= low) & (wide <= high))][0].item()


def _ones(words: Tensor) -> Tensor:
    def fold(x: Tensor, shift: int, mask: int) -> Tensor:
        return (x & mask) + (x >> shift & mask)

    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        words = fold(words, shift, mask)
    return sum(words >> (8 * k) & 0xFF for k in range(8))  # type: ignore[return-value]


def _threads(words: int) -> int:
    return torch.get_num_threads() if words >= _SMALL else 1


def _function(name: str, x: Tensor) -> Any:
    """The compiled function, or None where there is none for x."""
    if not x.is_cpu:
        return None
    try:
        return _compiled(name)
    except compiled.CannotCompile:
        return None


@cache
def _compiled(name: str) -> Any:
    return compiled.function(resources.files(__package__).joinpath("bits.cpp").read_text(), name)


_four, _fourteen = struct.Struct("4q").pack, struct.Struct("14q").pack
