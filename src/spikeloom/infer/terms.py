"""What adds to a layer's current: a convolution or linear layer of some value, or the value itself times a factor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.engine.bits import Bits
from spikeloom.engine.events import conv, dispatch
from spikeloom.engine.events.weights import Laid, lay
from spikeloom.infer.fused import Reaching
from spikeloom.infer.notes import Noted
from spikeloom.infer.values import Events, Still, Value, dense


class Weighted(Noted):
    """weight: `[Cout, Cin / groups, kh, kw]`, `[out, in]`, or None for the value itself; options: stride, padding, dilation, groups."""

    def __init__(self, weight: Tensor | None, options: tuple[Any, ...]) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.options = options
        self._laid: dict[Any, Laid] = {}
        self._factors: dict[Any, Tensor] = {}
        self._calls: dict[Any, tuple[Laid, conv._Call, bool]] = {}

    def call(self, value: Events) -> tuple[Bits, Laid, conv._Call, bool]:
        """The value's pixels, the weights for them, the call, and whether its output is `[T*B, channels]`."""
        bits = value.bits
        key = value.scale, value.flat, bits.planes, bits.signed, bits.words.shape
        inner = tuple(bits.shape[1:]) if value.flat and bits.words.dim() == 5 else None
        bits = bits if inner else pixels(bits)
        if key not in self._calls:
            laid = self._laid_out(value.scale, inner)
            self._calls[key] = laid, conv._call(bits, laid, None, *(self.options[:3] or (1, 0, 1)), 1)[1], self.weight.dim() == 2
        return bits, *self._calls[key]

    def itself(self, value: Events) -> Reaching:
        """How events that are the current themselves reach a layer's neurons."""
        bits = pixels(value.bits)
        n, c, h, w = bits.shape
        if (value.scale, c) not in self._factors:
            self._factors[value.scale, c] = self.factors(value.scale, c)
        shape = (n, h, w, c, h, w, 1, c, c, 1, 1, 1, 1, 0, 0, 1, 1, bits.planes, int(bits.signed))
        self.note(density=bits.density())
        return Reaching(bits, shape, 1, 0.0, None, self._factors[value.scale, c], (c, h, w), value.bits.words.dim() == 3)

    def scaled(self, scale: float) -> Tensor:
        """The weight for events in units of `scale`."""
        raise NotImplementedError

    def factors(self, scale: float, channels: int) -> Tensor:
        """Of such events themselves, `[channels, filled up]`."""
        raise NotImplementedError

    def events(self, value: Events) -> Tensor:
        """The current `[T*B, Cout, H, W]` of events, without a bias."""
        bits, laid, call, _ = self.call(value)
        y, way = conv.computed(bits, laid, call, dispatch.way(call.case, bits.events()))
        self.note(conv.explained(bits, laid, call).reason if way == "dense" else "", density=call.case.density(bits.events()))
        return y

    def _laid_out(self, scale: float, inner: tuple[int, ...] | None) -> Laid:
        """inner: the shape of maps that a linear layer reads."""
        if (scale, inner) not in self._laid:
            weight = self.scaled(scale) if inner is None else self.scaled(scale).unflatten(1, inner)
            groups = self.options[3] if self.options else 1
            self._laid[scale, inner] = lay(weight if weight.dim() == 4 else weight[:, :, None, None], None, groups)
        return self._laid[scale, inner]


class Term(Weighted):
    """factor: a number or one per channel, of the value itself."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, options: tuple[Any, ...] = (), factor: Tensor | None = None) -> None:
        weight, bias, factor = (None if value is None else value.detach().float().clone() for value in (weight, bias, factor))
        super().__init__(weight, options)
        self.register_buffer("bias", bias)
        self.register_buffer("factor", factor)

    def reaching(self, value: Value) -> Reaching | None:
        """How these events reach the layer's neurons; None where `current` is quicker or the only way."""
        if not isinstance(value, Events):
            return None
        if self._buffers["weight"] is None:  # sooner found than self.weight
            return None if value.flat else self.itself(value)
        bits, laid, call, flat = self.call(value)
        way = dispatch.way(call.case, bits.events(), fused=True)
        if laid.groups > 1 or way not in ("list", "tile", "table"):
            return None
        self.note(density=call.case.density(bits.events()))
        return reached(bits, laid, call, way, flat)

    def current(self, value: Value, steps: int) -> tuple[Tensor, bool]:
        """The current `[T*B or B, ...]` with the bias, and whether it is the same at every step."""
        if isinstance(value, Events) and self.weight is not None:
            y = self.events(value)
            y = y if self.bias is None else y + along(self.bias, 4)
            return (y if self.options else y.flatten(1)), False
        still = isinstance(value, Still)
        self.note(why_dense(value, self.weight is not None))
        x = value.x if still else dense(value, steps)
        return self._dense(x.float()), still

    def scaled(self, scale: float) -> Tensor:
        return self.weight * scale

    def factors(self, scale: float, channels: int) -> Tensor:
        filled = torch.zeros(-(-channels // 32) * 32)
        filled[:channels] = (1.0 if self.factor is None else self.factor) * scale
        return filled

    def _dense(self, x: Tensor) -> Tensor:
        if self.weight is None:
            y = x if self.factor is None else x * along(self.factor, x.dim())
            return y if self.bias is None else y + along(self.bias, x.dim())
        if self.weight.dim() == 2:
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, *self.options)


def why_dense(value: Value, weighted: bool) -> str:
    """Of a current to which events do not add."""
    if isinstance(value, Events):
        return "its input was in another unit at calibration" if weighted else "events themselves, summed where no kernel takes them up"
    return "the input does not change: computed once per image" if isinstance(value, Still) else "its input is no small whole number"


def reached(bits: Bits, laid: Laid, call: conv._Call, way: str, flat: bool) -> Reaching:
    """Bits on their way to a layer's neurons, by lists, tiles or tables."""
    parts, each = call.case.cut(way, bits.events())
    return Reaching(bits, call.fields, parts, each, laid.of(way), None, (call.cout, *call.out), flat)


def pixels(bits: Bits) -> Bits:
    """`[N, C]` as `[N, C, 1, 1]`."""
    if bits.words.dim() == 5:
        return bits
    planes, n, words = bits.words.shape
    return Bits(bits.words.view(planes, n, 1, 1, words), bits.channels, bits.planes, bits.signed, bits.counted)


def along(value: Tensor, dim: int) -> Tensor:
    """`value` (`[]` or `[C]`) viewed so that it broadcasts along axis 1 of a tensor of `dim` axes."""
    return value if value.dim() == 0 else value.view(-1, *[1] * (dim - 2))
