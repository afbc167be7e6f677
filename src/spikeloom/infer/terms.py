"""What adds to a layer's current: a convolution or linear layer of some value, or the value itself times a factor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeloom.engine import events
from spikeloom.engine.bits import Bits
from spikeloom.engine.events import conv, dispatch
from spikeloom.engine.events.weights import Laid, lay
from spikeloom.infer.fused import Reaching
from spikeloom.infer.values import Events, Still, Value, dense


class Term(nn.Module):
    """weight: `[Cout, Cin / groups, kh, kw]`, `[out, in]`, or None for the value itself; options: stride, padding, dilation, groups.

    factor: a number or one per channel, of the value itself. reason: why the last call was dense; "" where it was not.
    """

    def __init__(self, weight: Tensor | None, bias: Tensor | None, options: tuple[Any, ...] = (), factor: Tensor | None = None) -> None:
        super().__init__()
        for name, value in (("weight", weight), ("bias", bias), ("factor", factor)):
            self.register_buffer(name, None if value is None else value.detach().float().clone())
        self.options = options
        self._laid: dict[Any, Laid] = {}
        self.reason, self.density = "", 0.0

    def reaching(self, value: Value) -> Reaching | None:
        """How these events reach the layer's neurons; None where a dense convolution is quicker or the only way."""
        if isinstance(value, Still):
            self.reason = "the input does not change: computed once per image"
        elif isinstance(value, Tensor):
            self.reason = "its input is no small whole number"
        elif self.weight is None and not value.flat:
            return self._itself(value)
        elif self.weight is None or (self.options or (1, 0, 1, 1))[3] != 1:
            self.reason = "groups of channels, or a flattened value itself, are not fused"
        else:
            bits, laid, call = self._call(value)
            found = bits.events()
            way = dispatch.choose(call.case, found)
            self.density, self.reason = way.density, "" if way.way in ("list", "tile") else way.reason
            if not self.reason:
                return reached(bits, laid, call, found, way.way, self.weight.dim() == 2)
        return None

    def current(self, value: Value, steps: int) -> tuple[Tensor, bool]:
        """The current `[T*B or B, ...]` with the bias, and whether it is the same at every step."""
        still = isinstance(value, Still)
        if isinstance(value, Events) and self.weight is not None:
            return self._events(value), False
        x = value.x if still else dense(value, steps)
        return self._dense(x.float()), still

    def _dense(self, x: Tensor) -> Tensor:
        if self.weight is None:
            y = x if self.factor is None else x * along(self.factor, x.dim())
            return y if self.bias is None else y + along(self.bias, x.dim())
        if self.weight.dim() == 2:
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, *self.options)

    def _events(self, value: Events) -> Tensor:
        bits, laid, call = self._call(value)
        way = dispatch.choose(call.case, bits.events())
        self.density, self.reason = way.density, way.reason if way.way == "dense" else ""
        options = self.options[:3] if self.options else ()
        y = events.conv2d(bits, laid, None, *options)
        y = y if self.bias is None else y + along(self.bias, 4)
        return y.flatten(1) if self.weight.dim() == 2 else y

    def _itself(self, value: Events) -> Reaching:
        bits = pixels(value.bits)
        n, c, h, w = bits.shape
        factor = torch.ones(c) if self.factor is None else self.factor.expand(c)
        shape = (n, h, w, c, h, w, 1, c, c, 1, 1, 1, 1, 0, 0, 1, 1, bits.planes, int(bits.signed))
        filled = torch.zeros(-(-c // 32) * 32)
        filled[:c] = factor * value.scale
        self.reason, self.density = "", bits.density()
        return Reaching(bits, shape, 1, 0.0, None, filled, (c, h, w), value.bits.words.dim() == 3)

    def _call(self, value: Events) -> tuple[Bits, Laid, Any]:
        bits = value.bits
        if value.flat and bits.words.dim() == 5:
            inner = tuple(bits.shape[1:])
        else:
            bits, inner = pixels(bits), None
        key = (value.scale, inner)
        if key not in self._laid:
            weight = self.weight * value.scale
            weight = weight if inner is None else weight.unflatten(1, inner)
            groups = self.options[3] if self.options else 1
            self._laid[key] = lay(weight if weight.dim() == 4 else weight[:, :, None, None], None, groups)
        laid = self._laid[key]
        _, call = conv._call(bits, laid, None, *(self.options[:3] if self.options else (1, 0, 1)), 1)
        return bits, laid, call


def reached(bits: Bits, laid: Laid, call: Any, events: int, way: str, flat: bool) -> Reaching:
    """Bits on their way to a layer's neurons, by lists or tiles."""
    case, out = call.case, (call.cout, *call.out)
    if way == "tile":
        return Reaching(bits, call.fields, 0, case.spread, laid.tiles, None, out, flat)
    return Reaching(bits, call.fields, case.parts(events), case.entries(events), laid.rows, None, out, flat)


def pixels(bits: Bits) -> Bits:
    """`[N, C]` as `[N, C, 1, 1]`."""
    if bits.words.dim() == 5:
        return bits
    planes, n, words = bits.words.shape
    return Bits(bits.words.view(planes, n, 1, 1, words), bits.channels, bits.planes, bits.signed)


def along(value: Tensor, dim: int) -> Tensor:
    """`value` (`[]` or `[C]`) viewed so that it broadcasts along axis 1 of a tensor of `dim` axes."""
    return value if value.dim() == 0 else value.view(-1, *[1] * (dim - 2))
