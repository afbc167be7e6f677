"""A convolution or linear layer of spikes with gradients: its input is kept as bits, its weights' gradient is summed over events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import dispatch as scans
from spikeloom.engine import emitted
from spikeloom.engine.bits import Bits, packed_or_none, unpack
from spikeloom.engine.emitted import Emitted
from spikeloom.engine.events import conv, digits, dispatch, gradient
from spikeloom.engine.events.cost import Way
from spikeloom.engine.events.input import NEAR, SPAN, conv2d_input
from spikeloom.engine.events.weights import lay

Pair = tuple[int, int]
SAMPLE, EVERY = 32, 16  # from so many images on, every so many are looked at before all are packed


class Geometry(NamedTuple):
    """Of a convolution; a linear layer has the first one."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


SIMPLE = Geometry()


class Taken(NamedTuple):
    """How a call was computed: `forward` its output, `backward` its weights' gradient; the density of its input, None where it was not
    measured; why not by events; `pulled` its input's gradient (`"list"`: only where a window is open, `"tile"`: by products of digits), and
    the share of open windows, None where that is not known."""

    forward: Way
    backward: Way
    density: float | None
    reason: str = ""
    pulled: Way = "dense"
    open: float | None = None

    @property
    def dense(self) -> bool:
        """Whether all of it is."""
        return self.forward == self.backward == self.pulled == "dense"


@dataclass(frozen=True)
class _Plan:
    """shape: of the input; channels, planes, events: of its bits; open: where its gradient is wanted, None: everywhere."""

    shape: torch.Size
    channels: int
    planes: int
    events: int
    scale: float
    geometry: Geometry
    taken: Taken
    open: Emitted | None = None


def layer(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, geometry: Geometry = SIMPLE, planes: int = 1, scale: float = 1.0,
    engine: Literal["sparse", "auto"] = "auto",
) -> tuple[Tensor, Taken]:  # fmt: skip
    """`F.conv2d(x, weight, bias, *geometry)`, or `F.linear` for a weight `[out, in]`, and how it was computed.

    x: `scale` (a power of two) times whole numbers below 2^planes; anything else stays dense, and so do other types than float32, calls
    under autocast (16-bit dense products are quicker than events where the processor has them) and calls that are traced or transformed.
    engine: `"sparse"` takes events wherever it can, `"auto"` where they are estimated to be quicker. Gradients are those of the dense
    layer up to rounding; there are no second ones. With `"auto"` that of x may be a product of digits, see `digits.conv2d_input`.

    Where `emitted.of(x)` knows the bits of x they need not be packed. Where it knows the windows, the gradient of x may be computed only
    where the window of its neuron is open, and be 0 elsewhere, where the neuron multiplies it by 0. Nobody sees the difference: the whole
    gradient is computed where x, or what it was made of, has a hook, retains its gradient, or is still held by anyone in Python when its
    gradient is due. (What asks `x.grad_fn` itself, by a hook of that node or a gradient edge, gets the restricted one.)
    """
    obstacle = _obstacle(x, weight, bias) or _unfit(x, weight, geometry)
    if obstacle:
        return _dense(x, weight, bias, geometry), Taken("dense", "dense", None, obstacle)
    pixels, known = _kernel(x), emitted.of(x)
    bits = _taken(known, planes, scale)
    trains, draws = (torch.is_grad_enabled() and t.requires_grad for t in (weight, x))
    call = _call(pixels.shape, _kernel(weight).shape, geometry, planes, trains, draws and weight.dim() == 4)
    if engine == "auto":
        if call.never is not None:
            return _dense(x, weight, bias, geometry), call.never
        if bits is None and len(x) >= SAMPLE:
            sample = _packed(pixels[::EVERY], planes, scale)
            share = len(x) / -(-len(x) // EVERY)
            taken = sample and call.quickest(int(share * sample.events()), int(share * sample.total()))
            if taken and taken.dense:
                return _dense(x, weight, bias, geometry), taken
    ready = bits is not None
    bits = bits or _packed(pixels, planes, scale)
    if bits is None:
        strange = f"its input is not {scale:g} times whole numbers from 0 to {2**planes - 1}"
        return _dense(x, weight, bias, geometry), Taken("dense", "dense", None, strange)
    events = bits.events()
    taken = call.quickest(events, bits.total(), ready) if engine == "auto" else call.sparse(events)
    if taken.dense:
        return _dense(x, weight, bias, geometry), taken
    taken, window = _restricted(x, weight, geometry, taken, call, engine, known)
    plan = _Plan(x.shape, bits.channels, bits.planes, events, scale, geometry, taken, window)
    return _Layer.apply(x, weight, bias, bits.words, plan), taken  # type: ignore[return-value]


class _Layer(torch.autograd.Function):
    """words: the bits `[planes, N, H, W, ceil(C / 64)]` of x; they are what is saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, words: Tensor, plan: _Plan) -> Tensor:
        ctx.save_for_backward(words, weight)
        ctx.plan = plan
        if plan.taken.forward == "dense":
            return _dense(x, weight, bias, plan.geometry)
        stride, padding, dilation, groups = plan.geometry
        laid = lay(_kernel(weight if plan.scale == 1 else weight * plan.scale), bias, groups)
        y = conv.conv2d(Bits(words, plan.channels, plan.planes), laid, None, stride, padding, dilation, way=plan.taken.forward)
        return y if weight.dim() == 4 else y.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise SpikeloomError("a layer of events has no second derivatives; drop create_graph=True, or set engine='dense'")
        words, weight = ctx.saved_tensors
        plan: _Plan = ctx.plan
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        bits = Bits(words, plan.channels, plan.planes)
        listed = need_weight and plan.taken.backward == "list"
        restricted = need_x and plan.open is not None and not any(plan.open.watches)
        tiled = need_x and not restricted and plan.taken.pulled == "tile"
        gx, gweight = _pulled(grad, weight, plan, None if listed or not need_weight else bits, need_x and not restricted and not tiled)
        if restricted:
            gx = conv2d_input(plan.open.window, grad, weight, *plan.geometry[:2])  # type: ignore[union-attr]
        elif tiled:
            gx = digits.conv2d_input(grad, weight, plan.geometry.padding, plan.shape[2:])
        if listed:
            maps = grad if grad.dim() == 4 else grad[:, :, None, None]
            gweight = gradient.conv2d_weight(bits, maps, _kernel(weight), *plan.geometry[:2], plan.geometry.groups, plan.events)
            gweight = (gweight if plan.scale == 1 else gweight.mul_(plan.scale)).view_as(weight)
        gbias = grad.sum([d for d in range(grad.dim()) if d != 1]) if need_bias else None
        return gx, gweight, gbias, None, None


def _pulled(grad: Tensor, weight: Tensor, plan: _Plan, bits: Bits | None, need_x: bool) -> tuple[Tensor | None, Tensor | None]:
    """Dense gradients of the input, if needed, and of the weight, if there are bits."""
    if bits is None and not need_x:
        return None, None
    x = None if bits is None else unpack(bits).mul_(plan.scale).view(plan.shape)
    if weight.dim() == 2:
        return grad.mm(weight) if need_x else None, None if x is None else grad.t().mm(x)
    order = torch.contiguous_format if weight.numel() > conv.LARGE else torch.channels_last
    # of the input only the shape matters for its own gradient
    x = torch.empty(plan.shape, memory_format=order) if x is None else x.contiguous(memory_format=order)
    stride, padding, dilation, groups = plan.geometry
    wanted = [need_x, bits is not None, False]
    grad = grad.contiguous(memory_format=order)
    return torch.ops.aten.convolution_backward(grad, x, weight, None, stride, padding, dilation, False, (0, 0), groups, wanted)[:2]


def _restricted(
    x: Tensor, weight: Tensor, geometry: Geometry, taken: Taken, call: _Call, engine: str, known: Emitted | None
) -> tuple[Taken, Emitted | None]:
    """How the input's gradient is to be computed, and where if not everywhere."""
    refused = weight.dim() == 2 or geometry.groups > 1 or gradient.refused(weight.shape, geometry.dilation)
    if refused or known is None or known.window is None or x.retains_grad or any(watch.hooks for watch in known.watches):
        return taken, None
    share = known.window.density()
    tiles = gradient.tiling(x.shape, weight.shape, geometry.stride, geometry.padding, 1, NEAR, SPAN)
    wins = engine == "sparse" or call.case.narrows(share, geometry.stride, tiles.pieces, tiles.block, taken.pulled)
    return taken._replace(pulled="list" if wins else taken.pulled, open=share), known if wins else None


class _Call:
    """What decides how a call goes, but for the spikes."""

    def __init__(self, shape: torch.Size, kernel: torch.Size, geometry: Geometry, planes: int, trains: bool, draws: bool) -> None:
        self.case, self.stride = conv.case(shape, planes, kernel, *geometry), geometry.stride
        self.refused = gradient.refused(kernel, geometry.dilation) if trains else ""
        self.tiles = None
        if trains and not self.refused:
            tiles = gradient.tiling(shape, kernel, geometry.stride, geometry.padding, geometry.groups, gradient.NEAR)
            self.tiles = tiles.pieces, tiles.block
        inside = all(p < k for p, k in zip(geometry.padding, kernel[2:], strict=True))
        self.pulled: Way = self.case.draws if draws and inside and geometry.stride == geometry.dilation == (1, 1) else "dense"
        best = self.quickest(0, 0)
        self.never = best._replace(density=None) if best.dense else None

    def sparse(self, events: int) -> Taken:
        """By events wherever it can be."""
        backward: Way = "dense" if self.tiles is None else "list"
        return Taken("depthwise" if self.case.depthwise else "list", backward, self.case.density(events), self.refused)

    def quickest(self, events: int, total: int, packed: bool = False) -> Taken:
        """total: the sum of what the bits say; packed: whether they are there."""
        forward, backward, pulled, why = dispatch.training(self.case, events, total, self.stride, self.tiles, packed, self.pulled)
        return Taken(forward, backward, self.case.density(events), self.refused or why, pulled)


_call = lru_cache(maxsize=1024)(_Call)


def _taken(known: Emitted | None, planes: int, scale: float) -> Bits | None:
    """The bits of pixels that need not be packed."""
    bits = known and known.spikes
    if bits is None or scale != 1 or bits.planes > planes:
        return None
    words = bits.words
    return bits if words.dim() == 5 else Bits(words[:, :, None, None], bits.channels, bits.planes)


def _packed(pixels: Tensor, planes: int, scale: float) -> Bits | None:
    return packed_or_none(pixels if scale == 1 else pixels.detach() / scale, planes)


def _kernel(weight: Tensor) -> Tensor:
    """Rows as maps of one pixel."""
    return weight if weight.dim() == 4 else weight[:, :, None, None]


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return F.linear(x, weight, bias) if weight.dim() == 2 else F.conv2d(x, weight, bias, *geometry)


def _obstacle(*tensors: Tensor | None) -> str:
    """Why no kernel may touch the tensors; "" if one may."""
    if torch.is_autocast_enabled("cpu"):
        return "under autocast 16-bit dense products run"
    for tensor in tensors:
        if tensor is None:
            continue
        why = scans._obstacle(tensor, "auto")
        if why is None and (not tensor.is_cpu or tensor.dtype != torch.float32):
            why = f"events are for float32 on the CPU, not {tensor.dtype} on {tensor.device}"
        if why:
            return why
    return ""


def _unfit(x: Tensor, weight: Tensor, geometry: Geometry) -> str:
    if x.dim() != weight.dim() or x.dim() not in (2, 4):
        return f"its input has {x.dim()} axes"
    if x.shape[1] != weight.shape[1] * geometry.groups:
        return "its input has another number of channels"  # torch says so
    reach = (2 * p - d * (k - 1) for p, d, k in zip(geometry.padding, geometry.dilation, _kernel(weight).shape[2:], strict=True))
    small = any(n + r < 1 for n, r in zip(_kernel(x).shape[2:], reach, strict=True))
    return "its input is smaller than the kernel" if small else ""
