"""Convolutions and linear layers on bits: every event adds the weights it reaches."""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.engine import cache as compiled
from spikeloom.engine.bits import Bits, unpack
from spikeloom.engine.events import dispatch, tiles
from spikeloom.engine.events.cost import Case, Way
from spikeloom.engine.events.dispatch import Choice
from spikeloom.engine.events.weights import REAL, Laid, lay

Pair = tuple[int, int]
ENTRIES = 1 << 17  # of the lists of one piece of the output: half a MiB of L2, so that many pixels share a reading of the weights
LARGE = 1 << 20  # weights from which on oneDNN is quicker without channels_last
EXACT = 1 << 24  # float32 holds all whole numbers up to it
ALONE = 1 << 21  # additions below which one thread does it all


def conv2d(
    bits: Bits, weight: Tensor | Laid, bias: Tensor | None = None, stride: int | Pair = 1, padding: int | Pair = 0,
    dilation: int | Pair = 1, groups: int = 1, way: Way | None = None,
) -> Tensor:  # fmt: skip
    """`[N, Cout, H', W']` in channels_last: float32 for a float32 weight `[Cout, Cin / groups, kh, kw]`, exact int32 for int8.

    weight: laid out by `lay` with bias and groups where it serves many calls. way: None for the quickest, see `explain`. No gradients.
    The order of the sums depends on neither threads nor the batch, but on the way. Tiles round a float32 weight by at most 1.2e-7 of the
    largest one of its output.
    """
    laid, call = _call(bits, weight, bias, stride, padding, dilation, groups)
    return computed(bits, laid, call, way or dispatch.way(call.case, bits.events()))[0]


def computed(bits: Bits, laid: Laid, call: _Call, way: Way) -> tuple[Tensor, Way]:
    """The output of a call, and the way that it took: dense where there is no kernel for `way`."""
    kernel = _kernel(bits, laid, call, way)
    return (_dense(bits, laid, call), "dense") if kernel is None else (_run(kernel, bits, laid, call, bits.events(), way), way)


def linear(bits: Bits, weight: Tensor | Laid, bias: Tensor | None = None, way: Way | None = None) -> Tensor:
    """`[N, out]` of bits `[N, in]` and a weight `[out, in]`; bits `[N, C, H, W]` count as flattened to `[N, C * H * W]`."""
    if bits.words.dim() == 5:
        n, c, h, w = bits.shape
        if isinstance(weight, Tensor):
            if weight.dim() != 2 or weight.shape[1] != c * h * w:
                raise ShapeError(refusal("events.linear weight", list(weight.shape), f"[out, {c * h * w}] for bits {list(bits.shape)}"))
            weight = weight.unflatten(1, (c, h, w))
        return conv2d(bits, weight, bias, way=way).flatten(1)
    planes, n, words = bits.words.shape
    pixels = Bits(bits.words.view(planes, n, 1, 1, words), bits.channels, bits.planes, bits.signed)
    return conv2d(pixels, weight, bias, way=way).flatten(1)


def explain(
    bits: Bits, weight: Tensor | Laid, stride: int | Pair = 1, padding: int | Pair = 0, dilation: int | Pair = 1, groups: int = 1
) -> Choice:
    """The way that `conv2d` takes for these bits, their density, and why."""
    laid, call = _call(bits, weight, None, stride, padding, dilation, groups)
    return explained(bits, laid, call)


def explained(bits: Bits, laid: Laid, call: _Call) -> Choice:
    """What `explain` says of a call."""
    choice = dispatch.choose(call.case, bits.events())
    try:
        _function(choice.way == "depthwise", laid.dense[0].dtype)
    except compiled.CannotCompile as error:
        return Choice("dense", choice.density, str(error).replace("the reference loop runs", "it stays dense"))
    return choice


class _Call:
    """The geometry of one call; `fields` are those of Shape in lists.h from images to sign."""

    def __init__(self, bits: tuple[int, ...], weight: tuple[int, ...], kind: tuple[Any, ...], pairs: tuple[Any, ...], groups: int) -> None:
        stride, padding, dilation = pairs
        dtype, planes, signed = kind
        self.images, *size, _ = bits
        self.cout, inputs, *self.kernel = (*weight, 1, 1)[:4]
        # one tap has no neighbour to keep away from; oneDNN crashes on a dilation there
        dilation = tuple(d if k > 1 else 1 for d, k in zip(dilation, self.kernel, strict=True))
        self.options = stride, padding, dilation, groups
        spans = zip(size, padding, dilation, self.kernel, stride, strict=True)
        self.out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in spans]
        if min(self.out) < 1:
            allowed = f"at least as large as the kernel {self.kernel}, padded"
            raise ShapeError(refusal("events.conv2d bits", [bits[0], inputs * groups, *size], allowed))
        outputs = self.cout // groups
        self.fields = (
            *bits[:3], inputs * groups, *self.out, groups, inputs, outputs, *self.kernel, *stride, *padding, *dilation, planes, signed,
        )  # fmt: skip
        sheets = planes << signed if dilation == (1, 1) else 0
        pixels, elements = self.images * self.out[0] * self.out[1], self.images * size[0] * size[1] * inputs * groups
        self.case = Case(pixels, tuple(self.kernel), inputs, outputs, groups, elements, dtype, self.out[1], sheets)


_geometry = lru_cache(maxsize=1024)(_Call)


def _call(
    bits: Bits, weight: Tensor | Laid, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Laid, _Call]:
    if isinstance(weight, Laid):
        if bias is not None or groups not in (1, weight.groups):
            raise ShapeError("events: a weight that is laid out holds its bias and groups; give them to `lay`")
        laid = weight
    else:
        laid = lay(weight, bias, groups)
    if bits.words.dim() != 5:
        raise ShapeError(refusal("events.conv2d bits", list(bits.shape), "[N, C, H, W]", "use events.linear for [N, C]"))
    given = laid.dense[0]
    if given.shape[1] * laid.groups != bits.channels:
        allowed = f"[Cout, {bits.channels} / groups, ...] for bits {list(bits.shape)} and {laid.groups} groups"
        raise ShapeError(refusal("events weight", list(given.shape), allowed))
    pairs = pair("events stride", stride, 1), pair("events padding", padding, 0), pair("events dilation", dilation, 1)
    return laid, _geometry(tuple(bits.words.shape[1:]), tuple(given.shape), (given.dtype, bits.planes, bits.signed), pairs, laid.groups)


def case(shape: torch.Size, planes: int, kernel: torch.Size, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Case:
    """Of a call on unsigned bits of this shape `[N, C, H, W]` with a float32 weight `[Cout, Cin / groups, kh, kw]`."""
    n, channels, height, width = shape
    words = n, height, width, -(-channels // 64)
    return _geometry(words, tuple(kernel), (REAL, planes, False), (stride, padding, dilation), groups).case


def pair(name: str, value: int | Pair, least: int) -> Pair:
    """Two numbers from one or two. Raises ShapeError for less than `least`."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise ShapeError(refusal(name, value, f"a whole number of at least {least}, or two"))
    return pair


def _kernel(bits: Bits, laid: Laid, call: _Call, way: Way) -> Any:
    """None for the dense way, and where there is no kernel."""
    if way == "tile" and (call.case.groups > 1 or call.case.depthwise):
        raise ShapeError(refusal("events way", "tile", "list or dense", f"tiles are for one group, not {call.case.groups}"))
    refused = way == "tile" and (tiles.state() == 2 or call.case.taps * call.case.inputs > tiles.MOST)
    refused = refused or (way == "table" and not call.case.looked)
    if way == "dense" or refused or not bits.words.is_cpu or not laid.bias.is_cpu:
        return None
    try:
        return _function(call.case.depthwise, call.case.dtype)
    except compiled.CannotCompile:
        return None


def _run(kernel: Any, bits: Bits, laid: Laid, call: _Call, events: int, way: Way) -> Tensor:
    out = torch.empty([call.images, *call.out, call.cout], dtype=laid.bias.dtype)
    if out.numel():
        words = bits.words.contiguous()
        case, rows = call.case, call.images * call.out[0]
        parts, each = case.cut(way, events)
        entries = 1 + int(each * case.pixels)
        threads = torch.get_num_threads() if entries * case.outputs * case.groups >= ALONE else 1
        piece = max(1, min(ENTRIES * rows // entries, -(-rows // threads)))
        weights = laid.of(way)
        addresses = words.data_ptr(), weights.data_ptr(), laid.bias.data_ptr(), out.data_ptr()
        if kernel(_pack(threads, *call.fields, parts, piece, laid.stride, *addresses)):
            raise MemoryError(f"no memory for the events of {list(bits.shape)}")
    return out.movedim(-1, 1)


def _dense(bits: Bits, laid: Laid, call: _Call) -> Tensor:
    weight, bias = laid.dense
    x = unpack(bits)
    kernel = weight if weight.dim() == 4 else weight[:, :, None, None]
    if weight.dtype == REAL:
        if kernel.numel() > LARGE:
            x, kernel = x.contiguous(), kernel.contiguous()
        return F.conv2d(x, kernel, bias, *call.options).contiguous(memory_format=torch.channels_last)
    most = kernel[0].numel() * 128 * (2**bits.planes - 1)
    kind = torch.float32 if most < EXACT else torch.float64  # holds every sum
    out = F.conv2d(x.to(kind), kernel.to(kind), None, *call.options).to(torch.int32, memory_format=torch.channels_last)
    return out if bias is None else out + bias.view(-1, 1, 1)


@cache
def _function(depthwise: bool, dtype: torch.dtype) -> Any:
    return compiled.function(tiles.text("depthwise.cpp" if depthwise else "conv.cpp"), "real" if dtype == REAL else "whole")


_pack = struct.Struct("27q").pack
