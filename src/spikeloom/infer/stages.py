"""The layers of a Runner. Each maps the values of its inputs at a chunk of steps, and its state, to its value and its state after."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeloom.core.temporal import Temporal, carrying
from spikeloom.engine import CannotFuse, events
from spikeloom.engine.bits import MOST_PLANES, Bits, join
from spikeloom.engine.cache import CannotCompile
from spikeloom.infer.fused import Constants, Fused, Geometry, geometry
from spikeloom.infer.notes import Noted
from spikeloom.infer.terms import Term
from spikeloom.infer.values import Events, Still, Value, dense, packed
from spikeloom.neurons import Neuron

State = Any


class Stage(Noted):
    """inputs: names of the stages whose values it takes. numbers: what it counts in; why: what keeps it from whole membranes."""

    why, numbers = "", "float32"

    def __init__(self, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.inputs = inputs

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        """The value of `steps` steps, from `state` (None: the initial one), and the state after."""
        raise NotImplementedError


class Current(Stage):
    """A sum of terms without a neuron: the readout, or a current that several layers read."""

    def __init__(self, inputs: tuple[str, ...], terms: list[Term]) -> None:
        super().__init__(inputs)
        self.terms = nn.ModuleList(terms)

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        found = [term.current(value, steps) for term, value in zip(self.terms, values, strict=True)]
        if all(still for _, still in found):
            return Still(added([y for y, _ in found])), None
        return added([torch.cat([y] * steps) if still else y for y, still in found]), None


class Membranes(NamedTuple):
    """The state of a fused neuron, laid out as its kernel wants it."""

    at: Geometry
    flat: bool
    kept: list[Tensor]

    def tensors(self) -> tuple[Tensor, ...]:
        """Each `[B, ...]`."""
        return tuple(self.at.unblocked(s, self.flat) for s in self.kept)


class Layer(Current):
    """Terms and the neuron that they drive, fused where that is possible."""

    weights = torch.float32

    def __init__(self, inputs: tuple[str, ...], terms: list[Term], neuron: Neuron) -> None:
        super().__init__(inputs, terms)
        self.neuron = neuron
        self._kernel: Fused | None = None
        self._looked = False
        self._kept: dict[Any, Constants] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over; it looks for its kernel, which cannot be copied, itself."""
        return {**self.__dict__, "_kernel": None, "_looked": False}

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        kernel = None if isinstance(state, tuple) and not isinstance(state, Membranes) else self._found()
        if kernel is not None:
            found = self._together(kernel, values, steps, state)
            if found is not None:
                return found
        return self._apart(values, steps, state.tensors() if isinstance(state, Membranes) else state)

    def _apart(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        """Currents first, then the neuron; the state is the neuron's own."""
        current, _ = super().run(values, steps, None)
        spikes, after = self.neuron._run(dense(current, steps), steps, state)
        return packed(spikes), tuple(after)

    def _found(self) -> Fused | None:
        if not self._looked:
            self._looked = True
            try:
                self._kernel = self._fused()
            except (CannotFuse, CannotCompile) as error:
                self.reason = str(error)
        return self._kernel

    def _together(self, kernel: Fused, values: list[Value], steps: int, state: Membranes | None) -> tuple[Value, State] | None:
        found = [term.reaching(value) for term, value in zip(self.terms, values, strict=True)]
        reaching = [r for r in found if r is not None]
        left = [pair for *pair, r in zip(self.terms, values, found, strict=True) if r is None] if len(reaching) < len(found) else []
        base = self._ready(left, steps) if left else None
        flat = reaching[0].flat if reaching else base is not None and base.dim() == 2
        if base is not None and base.dim() not in (2, 4):
            self.note(f"its current {list(base.shape)} is neither [N, C] nor [N, C, H, W]")
            return None
        size = reaching[0].out if reaching else (*base.shape[1:], 1, 1)[:3]
        rows = reaching[0].bits.words.shape[1] if reaching else len(base)
        images = rows if not reaching and all(isinstance(v, Still) for v in values) else rows // steps
        at = geometry(steps, images, size[1], size[2], size[0], self.weights)
        if state is None:
            state = Membranes(at, flat, self._first(at, [images, *size[: 1 if flat else 3]]))
        bits = kernel.run(at, reaching, base, self._constants(at, tuple([r is not None for r in found])), state.kept)
        self.note("" if bits is not None else "its spikes are no whole numbers below 128")
        if bits is None:
            return None
        if flat:
            bits = Bits(bits.words.flatten(2, 3).squeeze(2), bits.channels, bits.planes, bits.signed, bits.counted)
        return Events(bits), state

    def _fused(self) -> Fused:
        values = self.neuron.values()
        return Fused(self.neuron, tuple(values), tuple(v.numel() > 1 for v in values.values()))

    def _constants(self, at: Geometry, reached: tuple[bool, ...]) -> Constants:
        """As the kernel takes them, made once. reached: which terms reach it as events."""
        if (at.channels, reached) not in self._kept:
            self._kept[at.channels, reached] = self._made(at, reached)
        return self._kept[at.channels, reached]

    def _made(self, at: Geometry, reached: tuple[bool, ...]) -> Constants:
        biases = [term.bias for term, given in zip(self.terms, reached, strict=True) if given and term.bias is not None]
        return Constants(at.per_channel(added(biases)) if biases else None, self._values(at), None)

    def _values(self, at: Geometry) -> list[Tensor]:
        return [v.float() if v.numel() == 1 else at.per_channel(v.float()) for v in self.neuron.values().values()]

    def _first(self, at: Geometry, shape: list[int]) -> list[Tensor]:
        if self.neuron.starts_at_zero:
            return [at.silent() for _ in self.neuron.states]
        return [at.blocked(s.float()) for s in self.neuron.initial(torch.zeros(shape))]

    def _ready(self, found: list[Any], steps: int) -> Tensor:
        """The sum of the currents that are computed densely, `[B, ...]` where none moves."""
        pairs = [term.current(value, steps) for term, value in found]
        still, moving = [y for y, s in pairs if s], [y for y, s in pairs if not s]
        if still and moving:
            moving.append(torch.cat([added(still)] * steps))
        return added(moving or still)


class Pool(Stage):
    """An average or maximum of windows, on bits where these have such a form."""

    def __init__(self, inputs: tuple[str, ...], kind: str, kernel: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__(inputs)
        self.kind, self.kernel, self.stride, self.padding = kind, kernel, stride, padding

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        (value,) = values
        self.note()
        if isinstance(value, Events) and not value.flat and value.bits.words.dim() == 5 and not (value.bits.signed and self.kind == "max"):
            kernel, stride = self._window(value.bits.shape[2:])
            if kernel is None:
                self.reason = "windows of different sizes"
            elif self.kind == "max":
                return Events(events.max_pool2d(value.bits, kernel, stride, self.padding), value.scale), None
            elif (kernel[0] * kernel[1] * (2**value.bits.planes - 1)).bit_length() <= MOST_PLANES:
                return Events(events.sum_pool2d(value.bits, kernel, stride, self.padding), value.scale / (kernel[0] * kernel[1])), None
            else:
                self.reason = f"sums reach 2^{MOST_PLANES}"
        else:
            self.reason = "its input is no events, or signed ones, of which there is no maximum"
        still = isinstance(value, Still)
        y = self._dense(value.x if still else dense(value, steps))
        return (Still(y) if still else y), None

    def _window(self, size: Any) -> Any:
        if self.kind != "adaptive":
            kernel = two(self.kernel)
            return kernel, kernel if self.stride is None else two(self.stride)
        out = [n if o is None else o for n, o in zip(size, two(self.kernel), strict=True)]
        if any(n % o for n, o in zip(size, out, strict=True)):
            return None, None
        kernel = tuple(n // o for n, o in zip(size, out, strict=True))
        return kernel, kernel

    def _dense(self, x: Tensor) -> Tensor:
        if self.kind == "adaptive":
            return F.adaptive_avg_pool2d(x, self.kernel)
        return (F.max_pool2d if self.kind == "max" else F.avg_pool2d)(x, self.kernel, self.stride, self.padding)


class Flat(Stage):
    """`flatten(1, end)`."""

    def __init__(self, inputs: tuple[str, ...], end: int = -1) -> None:
        super().__init__(inputs)
        self.end = end

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        (value,) = values
        if isinstance(value, Events):
            return Events(value.bits, value.scale, value.bits.words.dim() == 5), None
        return (Still(value.x.flatten(1, self.end)) if isinstance(value, Still) else value.flatten(1, self.end)), None


class Cat(Stage):
    """Values one after the other along the channels."""

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        found = [v for v in values if isinstance(v, Events)]
        kinds = {(v.scale, v.flat, v.bits.words.dim()) for v in found}
        if len(found) == len(values) and len(kinds) == 1 and not (found[0].flat and found[0].bits.words.dim() == 5):
            self.reason = ""
            return Events(join([v.bits for v in found]), found[0].scale, found[0].flat), None
        self.reason = "its inputs are not all events in one unit"
        still = [v.x for v in values if isinstance(v, Still)]
        if len(still) == len(values):
            return Still(torch.cat(still, 1)), None
        return torch.cat([dense(v, steps) for v in values], 1), None


class Plain(Stage):
    """Any other module, on dense values."""

    def __init__(self, inputs: tuple[str, ...], module: nn.Module) -> None:
        super().__init__(inputs)
        self.module = module
        self.reason = f"{type(module).__name__} has no form on events"

    def run(self, values: list[Value], steps: int, state: State) -> tuple[Value, State]:
        unfolds = any(isinstance(m, Temporal) for m in self.module.modules())
        if not unfolds:
            still = all(isinstance(v, Still) for v in values)
            y = self.module(*[v.x if still else dense(v, steps) for v in values])
            if still:
                return Still(y), None
            return packed(y) if any(isinstance(v, Events) for v in values) else y, None
        state, rows = {} if state is None else state, [dense(v, steps).chunk(steps) for v in values]
        spikes = []
        for t in range(steps):
            with carrying(state):
                spikes.append(self.module(*[r[t] for r in rows]))
        return packed(torch.cat(spikes)), state


def added(parts: list[Tensor]) -> Tensor:
    """Their sum."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def two(value: Any) -> tuple[int, int]:
    """A pair from one or two."""
    return (value, value) if isinstance(value, int) or value is None else tuple(value)
