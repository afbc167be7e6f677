"""Weights as the event-driven kernels read them: for each block of outputs a row per input, contiguous, and a row of zeros."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.engine import cache as compiled

REAL, WHOLE = torch.float32, torch.int8
BLOCK = {REAL: 32, WHOLE: 128}  # outputs of a block, as in gather.h
ALONE = 1 << 18  # weights below which one thread lays them all out
VECTOR = {REAL: 16, WHOLE: 64}  # outputs of a vector of 64 bytes


@dataclass(frozen=True, eq=False)
class Laid:
    """A weight `[Cout, Cin / groups, kh, kw]` and its bias, laid out once for many calls, in each way when that is first asked for.

    bias: `[groups, blocks * stride]`, float32 or int32; depthwise `[C]`, C filled up to a multiple of 64. dense: weight and bias as they
    were given; they are read when a way is first taken, so give `lay` a copy of a weight that will change in place. stride: outputs of a
    row.
    """

    bias: Tensor
    dense: tuple[Tensor, Tensor | None]
    groups: int
    stride: int

    @property
    def kernel(self) -> Tensor:
        """The weight with four axes."""
        weight = self.dense[0]
        return weight if weight.dim() == 4 else weight[:, :, None, None]

    @cached_property
    def rows(self) -> Tensor:
        """For lists: `[groups, blocks, kw * kh * Cin / groups + 1, stride]`, float32, or uint8: the int8 weight plus 128, outputs j and
        32 + j of 64 side by side. Depthwise: `[kh * kw, C]` in float32 or int32."""
        kernel, out = self.kernel, self.dense[0].shape[0] // self.groups
        if out == kernel.shape[1] == 1:
            return F.pad(kernel.flatten(1).t().to(self.bias.dtype), (0, -self.groups % 64)).contiguous()
        if (function := _function(kernel)) is not None and min(kernel.shape):
            rows = torch.empty(self.groups, -(-out // self.stride), kernel[0].numel() + 1, self.stride)
            threads = torch.get_num_threads() if rows.numel() >= ALONE else 1
            function(_pack(threads, self.groups, out, *kernel.shape[1:], self.stride, *kernel.stride(), kernel.data_ptr(), rows.data_ptr()))
            return rows
        rows = F.pad(kernel.unflatten(0, (self.groups, out)), (0, 0, 0, 0, 0, 0, 0, -out % self.stride))
        rows = rows.unflatten(1, (-1, self.stride)).permute(0, 1, 5, 4, 3, 2).flatten(2, 4)  # [groups, blocks, kw kh Cin / groups, stride]
        rows = F.pad(rows, (0, 0, 0, 1))
        if kernel.dtype == WHOLE:
            rows = (rows.short() + 128).to(torch.uint8).unflatten(-1, (-1, 2, 32)).mT.flatten(-3)
        return rows.contiguous()

    def of(self, way: str) -> Tensor:
        """As the kernel of a way reads it: `"list"`, `"depthwise"`, `"tile"` or `"table"`."""
        return self.tiles if way == "tile" else self.tables if way == "table" else self.rows

    @cached_property
    def tables(self) -> Tensor:
        """For sums that are looked up, see tables.h: `[groups, blocks, kh, Cin / groups, 2^kw, stride]`, float32 or int32."""
        kernel, width = self.kernel, self.kernel.shape[3]
        number = torch.arange(2**width)
        bits = number.unsqueeze(1) >> torch.arange(width) & 1  # [2^kw, kw]
        sums = (kernel.unsqueeze(3).double() * bits).sum(-1).to(self.bias.dtype)  # [Cout, Cin / groups, kh, 2^kw]
        sums = sums.unflatten(0, (self.groups, -1))
        sums = F.pad(sums, (0, 0, 0, 0, 0, 0, 0, -sums.shape[1] % self.stride)).unflatten(1, (-1, self.stride))
        return sums.permute(0, 1, 4, 3, 5, 2).contiguous()

    @cached_property
    def tiles(self) -> Tensor:
        """For dense products, see tiles.h; one group only."""
        from spikeloom.engine.events import digits, tiles

        return (digits.laid if self.kernel.dtype == REAL else tiles.split)(self.kernel, self.stride)


def lay(weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Laid:
    """Lay out a weight `[Cout, Cin / groups, kh, kw]` or `[out, in]`: float32 with a float32 bias, or int8 with an int32 bias."""
    check(weight, bias, groups)
    weight = weight.detach()
    bias = bias.detach() if bias is not None else None
    kind = torch.float32 if weight.dtype == REAL else torch.int32
    out = weight.shape[0] // groups
    added = torch.zeros(groups, out, dtype=kind) if bias is None else bias.unflatten(0, (groups, out))
    if out == weight.shape[1] == 1:
        return Laid(F.pad(added.flatten(), (0, -groups % 64)), (weight, bias), groups, groups + -groups % 64)
    stride = _stride(out, weight.dtype)
    return Laid(F.pad(added, (0, -out % stride)).contiguous(), (weight, bias), groups, stride)


def check(weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """Raises ShapeError unless these can be laid out."""
    if weight.dim() not in (2, 4) or weight.dtype not in (REAL, WHOLE):
        allowed = "float32 or int8 of shape [Cout, Cin / groups, kh, kw] or [out, in]"
        raise ShapeError(refusal("events weight", f"{weight.dtype} {list(weight.shape)}", allowed))
    if groups < 1 or weight.shape[0] % groups:
        raise ShapeError(refusal("events groups", groups, f"a divisor of the {weight.shape[0]} output channels"))
    kind = torch.float32 if weight.dtype == REAL else torch.int32
    if bias is not None and (bias.dtype != kind or bias.shape != weight.shape[:1]):
        raise ShapeError(refusal("events bias", f"{bias.dtype} {list(bias.shape)}", f"{kind} of shape [{weight.shape[0]}]"))


def _stride(out: int, dtype: torch.dtype) -> int:
    """Outputs of a row: as many as a block has, or as few vectors as hold them all."""
    vectors = -(-out // VECTOR[dtype])
    return min(BLOCK[dtype], vectors * VECTOR[dtype])


def _function(kernel: Tensor) -> Any:
    """The compiled function, or None where there is none for this kernel."""
    if not kernel.is_cpu or kernel.dtype != REAL:
        return None
    try:
        return _compiled()
    except compiled.CannotCompile:
        return None


@cache
def _compiled() -> Any:
    return compiled.function(resources.files(__package__).joinpath("weights.cpp").read_text(), "lay")


_pack = struct.Struct("13q").pack
