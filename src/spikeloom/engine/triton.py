"""The Triton of a scalar graph: the table of operations, and the two scans of `scan.triton`. No neuron is named here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib import resources

import torch
from torch import fx

from spikeloom.engine.printer import COMPUTE, Language, each, filled, statements
from spikeloom.engine.trace import results

REGISTERS = 16  # states a lane keeps for the way back, and the most steps written out one after the other
HALVED = {torch.float32: 2.0**23, torch.float64: 2.0**52}  # from here on no number has a fraction

# {0}, {1} ... are the operands, blocks of the type S that the kernel computes in, or of truth values
SCALAR = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "rsub": "{1} - {0}", "mul": "{0} * {1}", "div": "Div({0}, {1})", "neg": "-{0}",
    "reciprocal": "Div(1.0, {0})", "abs": "tl.abs({0})", "sqrt": "Sqrt({0})", "rsqrt": "Div(1.0, Sqrt({0}))",
    "sign": "({0} > 0).to(S) - ({0} < 0).to(S)", "sgn": "({0} > 0).to(S) - ({0} < 0).to(S)",
    "relu": "tl.where({0} < 0, 0.0, {0})", "step": "({0} > 0).to(S)",
    "exp": "Exp({0})", "tanh": "Tanh({0})", "sigmoid": "Sigmoid({0})", "log": "Log({0})", "atan": "Atan({0})",
    "erf": "tl.math.erf({0})", "sin": "Sin({0})", "cos": "Cos({0})",
    "floor": "tl.floor({0})", "ceil": "tl.ceil({0})", "round": "Round({0})", "trunc": "tl.where({0} < 0, tl.ceil({0}), tl.floor({0}))",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "logical_not": "{0} == 0", "logical_and": "({0} != 0) & ({1} != 0)", "logical_or": "({0} != 0) | ({1} != 0)",
    "bitwise_not": "{0} == 0", "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "where": "tl.where({0}, {1}, {2})",
    "masked_fill": "tl.where({1}, {2}, {0})",
    "minimum": "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})", "maximum": "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
    "clamp_min": "tl.where({0} < {1}, {1}, {0})", "clamp_max": "tl.where({0} > {1}, {1}, {0})",
    "sigmoid_backward": "{0} * (1.0 - {1}) * {1}", "tanh_backward": "{0} * (1.0 - {1} * {1})",
    "threshold_backward": "tl.where({1} <= {2}, 0.0, {0})",
}  # fmt: skip


def _number(value: float, kind: str) -> str:
    value = float(value)
    if kind == "bool":
        return f"tl.full([BLOCK], {value != 0}, tl.int1)"
    return f"tl.full([BLOCK], {value!r}, S)" if math.isfinite(value) else f'tl.full([BLOCK], float("{value}"), S)'


def _cast(text: str, held: str, kind: str) -> str:
    if held == kind:
        return text
    return f"{text}.to(S)" if kind == "S" else f"{text} != 0"


TRITON = Language(SCALAR, "{name} = {text}", _number, _cast)


def forward_source(step: fx.Graph, states: int, channel: Sequence[bool], storage: torch.dtype, steps: int) -> tuple[str, int]:
    """Triton of the scan that writes spikes and states, and in how many segments it walks `steps`."""
    length = max(n for n in range(1, _longest(states) + 1) if steps % n == 0)
    count = steps // length
    lines = []
    for j in range(length):
        wanted = [f"y_{j}", *each(f"v{{}}_{j + 1}", states)]
        lines += [statements(TRITON, step, results(step), _inputs(states, channel, j), wanted, COMPUTE[storage])]
        lines += [f"tl.store(y + {_row(j, length, count)}, y_{j}.to(X), mask=here)"]
    lines += each(f"v{{0}}_0 = v{{0}}_{length}", states)
    parts = {"SEGMENTS": _segments(count), "LOADS": _loads("x", length, count, "here"), "STEPS": "\n".join(lines)}
    return _filled("forward", states, channel, storage, parts, length), count


def backward_source(
    step: fx.Graph, pull: fx.Graph, states: int, channel: Sequence[bool], storage: torch.dtype, needs: Sequence[bool], steps: int
) -> tuple[str, int]:
    """Triton of the scan that recomputes the states and walks back, and its segments. needs: which of x and the values need a gradient."""
    count = -(-steps // _longest(states))
    length = -(-steps // count)
    dtype, grads = COMPUTE[storage], [j for j, need in enumerate(needs[1:]) if need]
    here = "on_{j}" if count * length != steps else "here"  # the last segment may be shorter
    replay = [
        statements(TRITON, step, results(step), _inputs(states, channel, j), [None, *each(f"v{{}}_{j + 1}", states)], dtype)
        for j in range(length)
    ]
    lines = []
    for j in reversed(range(length)):
        wanted = [f"gx_{j}" if needs[0] else None, *each("m{}", states), *(f"d{i}" if i in grads else None for i in range(len(channel)))]
        lines += [statements(TRITON, pull, results(pull), [*_inputs(states, channel, j), f"gy_{j}", *each("h{}", states)], wanted, dtype)]
        on = here.format(j=j)
        lines += [f"tl.store(gx + {_row(j, length, count)}, gx_{j}.to(X), mask={on})"] if needs[0] else []
        lines += each("h{0} = m{0}" if on == "here" else f"h{{0}} = tl.where({on}, m{{0}}, h{{0}})", states)
        lines += [f"a{i} += d{i}" if on == "here" else f"a{i} += tl.where({on}, d{i}, 0.0)" for i in grads]
    loads = [f"on_{j} = here & (tl.full([BLOCK], s * {length} + {j}, tl.int32) < T)" for j in range(length)] if here != "here" else []
    loads += [_loads("x", length, count, here), _loads("gy", length, count, here)]
    taped = states > 0 and count > 1
    parts = {
        "RECORD": _record(replay, states, length, count) if taped else "",
        "SEGMENTS": _segments(count, "count - 1 - back"),
        "LOADS": "\n".join([*(each(f"v{{0}}_0 = tl.load({_start('s', states)}, mask=here, other=0)", states) if taped else []), *loads]),
        "REPLAY": "\n".join(replay[:-1]),
        "STEPS": "\n".join(lines),
    }
    return _filled("backward", states, channel, storage, parts, length, grads), count


def _longest(states: int) -> int:
    return max(4, REGISTERS // max(states, 1))


def _inputs(states: int, channel: Sequence[bool], j: int) -> list[str]:
    return [f"x_{j}", *each(f"v{{}}_{j}", states), *each("p{}", len(channel))]


def _row(j: int, length: int, count: int) -> str:
    return f"(s * {length} + {j}) * size + at" if count > 1 else f"{j} * size + at"


def _start(s: str, states: int) -> str:
    return f"tape + ({s} * {states} + {{0}}) * size + at"


def _loads(name: str, length: int, count: int, mask: str) -> str:
    return "\n".join(
        f"{name}_{j} = tl.load({name} + {_row(j, length, count)}, mask={mask.format(j=j)}, other=0).to(S)" for j in range(length)
    )


def _segments(count: int, s: str = "") -> str:
    if count == 1:
        return "for s in tl.static_range(1):"
    return f"for back in range(count):\n    s = {s}" if s else "for s in range(count):"


def _record(replay: list[str], states: int, length: int, count: int) -> str:
    """The states before each segment go to the tape."""
    store = each(f"tl.store({_start('(s + 1)', states)}, v{{0}}_0, mask=here)", states)
    body = [_loads("x", length, count, "here"), *replay, *each(f"v{{0}}_0 = v{{0}}_{length}", states), *store]
    lines = [*each(f"tl.store({_start('0', states)}, v{{0}}_0, mask=here)", states), "for s in range(count - 1):"]
    lines += [f"    {line}" for text in body for line in text.splitlines()]
    return "\n".join([*lines, "tl.debug_barrier()"])  # what one lane wrote another may read


@cache
def _template() -> dict[str, str]:
    head, *parts = resources.files(__package__).joinpath("scan.triton").read_text().split("#---- ")
    return {"head": head, **dict(part.split("\n", 1) for part in parts)}


def _filled(
    which: str, states: int, channel: Sequence[bool], storage: torch.dtype, parts: dict[str, str], length: int, grads: Sequence[int] = ()
) -> str:
    template, dtype, values = _template(), COMPUTE[storage], range(len(channel))
    lists: dict[str, Sequence[int]] = {
        "state": range(states), "value": values, "grad": grads,
        "scalar": [j for j in values if not channel[j]], "channel": [j for j in values if channel[j]],
    }  # fmt: skip
    kept = length * (states + 2)  # per neuron, in registers: states, x, gradients
    block = 512 if kept <= 12 else 256 if kept <= 24 else 128
    types = {name: str(kind).replace("torch", "tl") for name, kind in (("S", dtype), ("X", storage))}
    constants = {**types, "BLOCK": block, "HALVED": HALVED[dtype]}
    head = "".join(f"{name} = tl.constexpr({value})\n" for name, value in constants.items())
    return template["head"] + head + "\n\n" + template[str(dtype)] + template["common"] + filled(template[which], "#", lists, parts)
