"""The kernel from events to events: the currents of a layer and its neuron's step in one pass, the step printed as the engine does."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp, trace
from spikeloom.engine.bits import MOST_PLANES, Bits
from spikeloom.engine.events import tiles
from spikeloom.engine.events.conv import ENTRIES
from spikeloom.engine.events.weights import BLOCK, REAL, VECTOR
from spikeloom.engine.trace import results

TILE = 64  # pixels whose membranes stay in L1, as in lists.h
ALONE = 1 << 20  # neurons times steps below which one thread does it all

Report = ctypes.c_int64 * 4


class Reaching(NamedTuple):
    """Events that reach a layer. shape: the numbers of Shape from images to sign; parts, entries: as `Case.cut` has them.

    rows: weights as `Laid` has them, None where the events themselves are the current, times `scale` `[channels, filled up]`.
    out: channels, height and width of the current; flat: whether it is `[T*B, channels]`.
    """

    bits: Bits
    shape: tuple[int, ...]
    parts: int
    entries: float
    rows: Tensor | None
    scale: Tensor | None
    out: tuple[int, int, int]
    flat: bool


@dataclass(frozen=True)
class Geometry:
    """Of a neuron's layer; made by `geometry`. weights: their type, which decides how many channels the kernel takes at a time."""

    steps: int
    images: int
    height: int
    width: int
    channels: int
    weights: torch.dtype = REAL

    @cached_property
    def stride(self) -> int:
        """Channels of a block, as in a row of weights."""
        vector = VECTOR[self.weights]
        return min(BLOCK[self.weights], -(-self.channels // vector) * vector)

    @cached_property
    def filled(self) -> int:
        """Channels, filled up to whole blocks."""
        return -(-self.channels // self.stride) * self.stride

    def silent(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """A state of zeros as the kernel keeps it."""
        return torch.zeros(self.filled * self.images * self.height * self.width, dtype=dtype)

    def blocked(self, x: Tensor) -> Tensor:
        """`[B, C, ...]` as the kernel keeps states, a flat copy: blocks of channels, in each pixel by pixel."""
        space = x.detach().reshape(x.shape[0], self.channels, self.height * self.width)
        flat = space.movedim(1, -1).reshape(-1, self.channels)  # [pixels, C]
        out = self.silent(x.dtype)
        for block, c in self._blocks(out):
            block[:, : self.channels - c].copy_(flat[:, c : c + self.stride])
        return out

    def unblocked(self, kept: Tensor, flat: bool) -> Tensor:
        """`[B, C, H, W]`, or `[B, C]` where `flat`, of what `blocked` made."""
        out = torch.cat([block[:, : self.channels - c] for block, c in self._blocks(kept)], 1)
        return out if flat else out.unflatten(0, (self.images, self.height, self.width)).movedim(-1, 1)

    def _blocks(self, kept: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The block `[pixels, pitch]` from each first channel on; the last has a pitch of half a block where that holds it."""
        pixels, vector = self.images * self.height * self.width, VECTOR[self.weights]
        for c in range(0, self.channels, self.stride):
            pitch = self.stride if self.channels - c > vector else vector
            yield kept[c * pixels :][: pixels * pitch].view(pixels, pitch), c

    def per_channel(self, value: Tensor) -> Tensor:
        """A value `[]` or `[channels]` as the kernel reads it, one per channel, filled up."""
        value = value.detach().expand(self.channels)
        return torch.cat([value, value[-1:].expand(self.filled - self.channels)]).contiguous()


geometry = lru_cache(maxsize=1024)(Geometry)


class Constants(NamedTuple):
    """Of a layer, as its kernel reads them. bias: filled up; values: of a step, single numbers or filled up.

    unit: of int32 currents for float32 membranes, filled up.
    """

    bias: Tensor | None
    values: list[Tensor]
    unit: Tensor | None


class Fused:
    """The compiled kernel of one neuron's equations. Raises CannotFuse or CannotCompile.

    planes, signed: of its spikes, wider when a run needs it. channel: which values are one per channel. weights, states: their types;
    with int8 weights, currents and bias are int32 in the units of `finer` in fused.cpp.
    """

    def __init__(
        self, neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], weights: torch.dtype = REAL,
        states: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        graph = trace.step_graph(neuron, names, torch.float32)
        self.states, self.values = len(neuron.states), len(names)
        self.binary = _binary(results(graph)[0])
        self.planes, self.signed = 1, False
        self.sums = torch.float32 if weights == REAL else torch.int32
        self.kernel = compiled.function(_source(graph, self.states, channel, self.binary, weights, states), "run")

    def run(
        self, at: Geometry, terms: Sequence[Reaching], base: Tensor | None, constants: Constants, state: list[Tensor]
    ) -> Bits | None:
        """Spikes of all steps; `state` moves on in place. None where a spike is no whole number below 128: then `state` is as it was.

        base: currents `[T*B or B, ...]` that are there already.
        """
        before = None if self.binary else [s.clone() for s in state]
        while True:
            bits, largest, negative, broken = self._call(at, terms, base, constants, state)
            planes, signed = max(self.planes, largest.bit_length()), self.signed or negative > 0
            if not broken and (planes, signed) == (self.planes, self.signed):
                return bits
            for now, old in zip(state, before or (), strict=True):
                now.copy_(old)
            if broken or planes > MOST_PLANES:
                return None
            self.planes, self.signed = planes, signed

    def _call(self, at: Geometry, terms: Any, base: Any, constants: Constants, state: Any) -> tuple[Bits, int, int, int]:
        bias, values, unit = constants
        size = [at.steps * at.images, at.height, at.width, -(-at.channels // 64)]
        words = torch.empty([self.planes + self.signed, *size], dtype=torch.int64)
        zeros = _zeros(at.filled, self.sums)
        threads, piece, span = _pieces(at, terms)
        base_step = 0
        if base is not None:
            base = base.contiguous(memory_format=torch.channels_last) if base.dim() == 4 else base.contiguous()
            base_step = at.images * at.height * at.width if len(base) == size[0] else 0
        kept = [term.bits.words.contiguous() for term in terms]
        table = [number for term, w in zip(terms, kept, strict=True) for number in _term(term, w, at, threads)]
        report = Report()
        call = (
            threads, at.steps, at.images, at.height, at.width, at.channels, at.stride, piece, span, self.planes, self.signed, base_step,
            len(terms),
            0 if base is None else base.data_ptr(), (zeros if bias is None else bias).data_ptr(), words.data_ptr(), zeros.data_ptr(),
            0 if unit is None else unit.data_ptr(), *[s.data_ptr() for s in state], *[v.data_ptr() for v in values],
            *[0 if term.scale is None else term.scale.data_ptr() for term in terms], ctypes.addressof(report), *table,
        )  # fmt: skip
        if self.kernel(_numbers(len(call)).pack(*call)):
            raise MemoryError(f"no memory for the events of {size}")
        largest, negative, broken, events = report
        return Bits(words, at.channels, self.planes, self.signed, events), largest, negative, broken


def _term(term: Reaching, words: Tensor, at: Geometry, threads: int) -> tuple[int, ...]:
    rows = 0 if term.rows is None else term.rows.data_ptr()
    return int(term.rows is None), threads, *term.shape, term.parts, 1, at.stride, words.data_ptr(), rows


@cache
def _zeros(count: int, dtype: torch.dtype) -> Tensor:
    return torch.zeros(count, dtype=dtype)


@cache
def _numbers(count: int) -> struct.Struct:
    return struct.Struct(f"{count}q")


def _pieces(at: Geometry, terms: Sequence[Reaching]) -> tuple[int, int, int]:
    """Threads, rows of a piece, and steps that are listed at a time: their lists fill half a MiB."""
    rows = at.images * at.height
    threads = torch.get_num_threads() if at.steps * rows * at.width * at.channels >= ALONE else 1
    piece = max(1, min(TILE // at.width, -(-rows // threads)))
    if at.steps == 1:
        return threads, piece, 1
    entries = 1 + piece * at.width * sum(term.entries for term in terms)
    return threads, piece, max(1, min(at.steps, int(ENTRIES / entries)))


def _binary(node: Any) -> bool:
    """Whether a node of a step is 0 or 1 by its form: a step function, 1 minus one, or a product of such."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return False
    if trace.is_step(node):
        return True
    op, args = node.target._schema.name.removeprefix("aten::"), node.args
    if op == "rsub":
        return args[1] == 1 and _binary(args[0])
    if op == "sub":
        return args[0] == 1 and _binary(args[1])
    return op in ("mul", "detach") and all(_binary(a) for a in args)


@cache
def _texts() -> tuple[str, str]:
    lists = tiles.text()
    return lists, resources.files(__package__).joinpath("fused.cpp").read_text()


def _source(
    graph: fx.Graph, states: int, channel: tuple[bool, ...], binary: bool, weights: torch.dtype, kept: torch.dtype
) -> str:  # fmt: skip
    lists, fused = _texts()
    kind = "typedef Real KIND;\n" if weights == REAL else "typedef Whole KIND;\n#define WHOLE\n"
    kind += "#define BINARY\n" if binary else ""
    return lists + cpp.scalars(kept) + kind + cpp.inserted(fused, graph, states, channel)
