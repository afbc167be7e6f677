"""Layers of whole numbers: int8 weights, int32 currents, and int32 membranes and thresholds where a neuron's step has an integer form.

Channel c of a layer counts its currents in units `fine[c]`, 1 / 2^FINE of the unit of its weights on events. All sums are exact, so that
they depend on neither order, threads nor machine. Sums leave integers at one place, a neuron with float32 membranes or the readout: one
product per element.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeloom.engine import trace
from spikeloom.engine.events import dispatch
from spikeloom.engine.events.weights import WHOLE
from spikeloom.engine.trace import results
from spikeloom.infer.fused import Constants, Fused, Geometry, Reaching
from spikeloom.infer.stages import Layer, Stage, State, added
from spikeloom.infer.terms import Weighted, along, reached, why_dense
from spikeloom.infer.values import Events, Still, Value, dense, packed
from spikeloom.neurons import Neuron

FINE, MOST = 4, 1 << 28  # as in fused.cpp


class WholeTerm(Weighted):
    """What adds to a layer's current, as whole numbers of the layer's fine unit.

    source: unit of the input. kind: `"events"` (the input is a whole number of units) or `"analog"` (it is rounded to one). weight: int8.
    factor: float64 `[channels]`, fine units of one unit of the input times a weight of 1: 2^FINE for weights on events.
    """

    def __init__(
        self, weight: Tensor | None, factor: Tensor | None, options: tuple[Any, ...] = (), source: float = 1.0, kind: str = "events"
    ) -> None:  # fmt: skip
        super().__init__(weight, options)
        self.register_buffer("factor", factor)
        self.source, self.kind = source, kind

    def reaching(self, value: Value) -> Reaching | None:
        """How these events reach the layer's neurons; None where they are summed before."""
        if not isinstance(value, Events) or self.kind == "analog" or value.scale != self.source:
            return None
        if self._buffers["weight"] is None:
            return None if value.flat else self.itself(value)
        bits, laid, call, flat = self.call(value)
        if laid.groups > 1 or call.case.depthwise:
            return None
        self.note(density=call.case.density(bits.events()))
        way = dispatch.way(call.case, bits.events(), fused=True)
        return reached(bits, laid, call, "list" if way == "dense" else way, flat)

    def current(self, value: Value, steps: int) -> tuple[Tensor, bool]:
        """The current `[T*B or B, ...]` in fine units, int32, and whether it is the same at every step."""
        still = isinstance(value, Still)
        if isinstance(value, Events) and self.weight is not None and self.kind == "events" and value.scale == self.source:
            y = self.events(value)
            return bounded((y if self.options else y.flatten(1)).double() * 2**FINE), False
        self.note(why_dense(value, self.weight is not None))
        x = ((value.x if still else dense(value, steps)).double() / self.source).round()  # float64 holds every sum
        if self.weight is None:
            return bounded((x * along(self.factor.round() if self.kind == "events" else self.factor, x.dim())).round()), still
        y = F.linear(x, self.weight.double()) if self.weight.dim() == 2 else F.conv2d(x, self.weight.double(), None, *self.options)
        return bounded((y * along(self.factor, y.dim())).round()), still

    def scaled(self, scale: float) -> Tensor:
        return self.weight

    def factors(self, scale: float, channels: int) -> Tensor:
        filled = torch.zeros(-(-channels // 128) * 128, dtype=torch.int32)
        filled[:channels] = self.factor.round().int()
        return filled


class WholeCurrent(Stage):
    """A sum of terms without a neuron, `[T*B, ...]` float32: exact sums times `fine`, plus bias; both float64 `[channels]`."""

    def __init__(self, inputs: tuple[str, ...], terms: list[WholeTerm], fine: Tensor | None, bias: Tensor | None) -> None:
        super().__init__(inputs)
        self.terms = nn.ModuleList(terms)
        self.register_buffer("fine", fine)
        self.register_buffer("bias", bias)
        self.numbers = "int8"

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        found = [term.current(value, steps) for term, value in zip(self.terms, values, strict=True)]
        still = all(s for _, s in found)
        total = added([y.double() if s == still else torch.cat([y.double()] * steps) for y, s in found])
        y = (total * along(self.fine, total.dim()) + along(self.bias, total.dim())).float()
        return (Still(y) if still else y), None


class WholeLayer(Layer):
    """Terms and the neuron that they drive. fine: float64 `[channels]`; bias: int32 `[channels]`, in fine units.

    membranes: torch.int32 or torch.float32; why: the reason for the latter.
    """

    weights = WHOLE

    def __init__(
        self, inputs: tuple[str, ...], terms: list[WholeTerm], neuron: Neuron, fine: Tensor | None, bias: Tensor | None,
        membranes: torch.dtype, why: str = "",
    ) -> None:  # fmt: skip
        super().__init__(inputs, terms, neuron)  # type: ignore[arg-type]
        self.register_buffer("fine", fine)
        self.register_buffer("bias", bias)
        self.membranes, self.why = membranes, why
        self.numbers = "int8" if membranes == torch.int32 else "int8, float32 membranes"

    def _fused(self) -> Fused:
        names = tuple(self.neuron.values())
        channel = tuple(self.membranes == torch.int32 or v.numel() > 1 for v in self.neuron.values().values())
        return Fused(self.neuron, names, channel, WHOLE, self.membranes)

    def _made(self, at: Geometry, reached: tuple[bool, ...]) -> Constants:
        bias = at.per_channel(self.bias)
        if self.membranes == torch.int32:
            return Constants(bias, [at.per_channel(v) for v in self._whole_values().values()], None)
        return Constants(bias, self._values(at), at.per_channel(self.fine.float()))

    def _whole_values(self) -> dict[str, Tensor]:
        """Thresholds and the like in fine units, int32 `[channels]`."""
        return {name: bounded((v.double() / self.fine).round()) for name, v in self.neuron.values().items()}

    def _first(self, at: Geometry, shape: list[int]) -> list[Tensor]:
        if self.membranes == torch.float32:
            return super()._first(at, shape)
        if self.neuron.starts_at_zero:
            return [at.silent(torch.int32) for _ in self.neuron.states]
        return [at.blocked(s) for s in self._start(shape)]

    def _start(self, shape: list[int]) -> list[Tensor]:
        """First states: the membrane, the first of them, in fine units."""
        membrane, *others = self.neuron.initial(torch.zeros(shape))
        return [bounded((membrane.double() / along(self.fine, len(shape))).round()), *(o.int() for o in others)]

    def _apart(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        current = self._ready(list(zip(self.terms, values, strict=True)), steps)
        assert current is not None
        if all(isinstance(v, Still) for v in values):
            current = torch.cat([current] * steps)
        current = current + along(self.bias, current.dim())
        if self.membranes == torch.float32:
            spikes, after = self.neuron._run(current.float() * along(self.fine.float(), current.dim()), steps, state)
            return packed(spikes), tuple(after)
        rows, spikes = current.chunk(steps), []
        p = SimpleNamespace(**{name: along(v, current.dim()) for name, v in self._whole_values().items()})
        state = tuple(self._start(list(rows[0].shape))) if state is None else state
        for x in rows:
            y, state = self.neuron.step(bounded(x), state, p)
            state = tuple(bounded(s) for s in state)
            spikes.append(y)
        return packed(torch.cat(spikes).float()), state


def bounded(x: Tensor) -> Tensor:
    """As int32 between -MOST and MOST."""
    return x.clamp(-MOST, MOST).to(torch.int32)


def integer_form(neuron: Neuron) -> str:
    """Why a neuron's step has no form on whole numbers; "" where it has one: then x, the first state and all values are membranes.

    Every node is a membrane (1) or a pure number (0). Sums and comparisons are of a kind, a product has at most one membrane.
    """
    values = neuron.values()
    try:
        graph = trace.step_graph(neuron, tuple(values), torch.float32)
    except trace.CannotFuse as error:
        return str(error)
    states = [1, *[0] * (len(neuron.states) - 1)]
    kinds: dict[fx.Node, int] = dict(zip(graph.find_nodes(op="placeholder"), [1, *states, *[1] * len(values)], strict=True))
    for node in graph.nodes:
        if node.op == "call_function":
            kind = _kind(node, kinds)
            if kind is None:
                return f"its step has no form on whole numbers ({node.target._schema.name.removeprefix('aten::')})"
            kinds[node] = kind
    if [kinds.get(out, 0) for out in results(graph)] != [0, *states]:
        return "its step mixes membranes and counts"
    return "" if all(bool(v.isfinite().all()) for v in values.values()) else "one of its values is infinite"


def _kind(node: fx.Node, kinds: dict[fx.Node, int]) -> int | None:
    op = node.target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]
    numbers = [a for a in node.args if not isinstance(a, fx.Node)]
    given = [kinds[a] for a in node.args if isinstance(a, fx.Node)]
    if any(not isinstance(n, int | float) or n != int(n) for n in numbers) or node.kwargs:
        return None
    if op in ("sign", "lt", "le", "gt", "ge", "eq", "ne"):
        return 0 if len({*given, *[0 for n in numbers if n]}) == 1 else None
    if op in ("relu", "neg", "detach", "alias", "clone"):
        return given[0]
    if op in ("add", "sub", "rsub", "minimum", "maximum", "clamp_min", "clamp_max"):
        return given[0] if len({*given, *[0 for n in numbers if n]}) == 1 else None
    if op == "where":
        return given[1] if len(given) == 3 and given[0] == 0 and given[1] == given[2] else None
    total = sum(given)
    return total if op == "mul" and total <= 1 else None
