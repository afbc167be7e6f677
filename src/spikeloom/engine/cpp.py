"""The C++ of a scalar graph: the table of operations, and the two scans of `scan.cpp`. No neuron is named here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib import resources

import torch
from torch import fx

from spikeloom.engine.printer import COMPUTE, Language, each, filled, statements
from spikeloom.engine.trace import results

STORAGE = {torch.float64: "DOUBLE", torch.float32: "FLOAT", torch.bfloat16: "BFLOAT16", torch.float16: "HALF"}

# {0}, {1} ... are the operands; S is the type the kernel computes in; U(f) is the builtin of that type
SCALAR = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "rsub": "{1} - {0}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}",
    "reciprocal": "S(1) / {0}", "abs": "U(fabs)({0})", "sqrt": "U(sqrt)({0})", "rsqrt": "S(1) / U(sqrt)({0})",
    "sign": "S({0} > 0) - S({0} < 0)", "sgn": "S({0} > 0) - S({0} < 0)", "relu": "{0} < 0 ? S(0) : {0}", "step": "{0} > 0 ? S(1) : S(0)",
    "exp": "Exp({0})", "tanh": "Tanh({0})", "sigmoid": "Sigmoid({0})", "log": "U(log)({0})", "atan": "U(atan)({0})",
    "erf": "U(erf)({0})", "sin": "U(sin)({0})", "cos": "U(cos)({0})",
    "floor": "U(floor)({0})", "ceil": "U(ceil)({0})", "round": "U(rint)({0})", "trunc": "U(trunc)({0})",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "logical_not": "!{0}", "logical_and": "bool({0}) & bool({1})", "logical_or": "bool({0}) | bool({1})",
    "bitwise_not": "!{0}", "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "where": "{0} ? {1} : {2}",
    "masked_fill": "{1} ? {2} : {0}",
    # asking the second operand first: the other way about, GCC 12 cannot vectorise a minimum of a clamp
    "minimum": "({1} <= {0}) | ({1} != {1}) ? {1} : {0}", "maximum": "({1} >= {0}) | ({1} != {1}) ? {1} : {0}",
    "clamp_min": "{0} < {1} ? {1} : {0}", "clamp_max": "{0} > {1} ? {1} : {0}",
    "sigmoid_backward": "{0} * (S(1) - {1}) * {1}", "tanh_backward": "{0} * (S(1) - {1} * {1})",
    "threshold_backward": "{1} <= {2} ? S(0) : {0}",
}  # fmt: skip


def _number(value: float, kind: str) -> str:
    value = float(value)
    if math.isnan(value):
        return f'{kind}(__builtin_nan(""))'
    return f"{kind}({value!r})" if math.isfinite(value) else f"{kind}({'-' if value < 0 else ''}__builtin_inf())"


CPP = Language(SCALAR, "const {kind} {name} = {text};", _number, lambda text, held, kind: f"{kind}({text})")


def forward_source(
    step: fx.Graph, states: int, channel: Sequence[bool], storage: torch.dtype, pull: fx.Graph | None = None, bits: Sequence[fx.Node] = (),
    planes: int = 0, opened: fx.Graph | None = None,
) -> str:  # fmt: skip
    """C++ of the scan that writes spikes and states, and the nodes `bits` of `pull`; as words so many `planes` of the spikes, and what
    `opened` says for 1 as the gradient of the spikes and 0 as those of the states. channel: which values have one entry per channel."""
    dtype, inputs = COMPUTE[storage], _inputs(states, channel)
    body = statements(CPP, step, results(step), inputs, ["y0", *each("n{}", states)], dtype)
    nothing = ["S(0)"] * states
    if pull and bits:
        body += "\n" + statements(CPP, pull, bits, [*inputs, "S(0)", *nothing], each("k{}", len(bits)), dtype, prefix="q")
    body += "".join(f"\nconst int32_t e{p} = (int32_t)y0 >> {p} & 1;" for p in range(planes))
    if opened:
        body += "\n" + statements(CPP, opened, results(opened), [*inputs, "S(1)", *nothing], [f"e{planes}"], dtype, prefix="o")
    return _filled("forward", states, channel, storage, {"BODY": body}, bits=len(bits), planes=planes + (opened is not None))


def backward_source(
    step: fx.Graph, pull: fx.Graph, states: int, channel: Sequence[bool], storage: torch.dtype, needs: Sequence[bool],
    bits: Sequence[fx.Node] = (),
) -> str:  # fmt: skip
    """C++ of the scan that walks back, after recomputing the states, or from `bits`. needs: which of x and the values need a gradient."""
    dtype, inputs = COMPUTE[storage], _inputs(states, channel)
    replay = statements(CPP, step, results(step), inputs, [None, *each("n{}", states)], dtype) if not bits else ""
    wanted = ["gx0" if needs[0] else None, *each("m{}", states), *(f"d{j}" if need else None for j, need in enumerate(needs[1:]))]
    given = {node: f"k{k}" for k, node in enumerate(bits)}
    body = statements(CPP, pull, results(pull), [*inputs, "gy0", *each("h{}", states)], wanted, dtype, given)
    return _filled("backward", states, channel, storage, {"REPLAY": replay, "BODY": body}, needs, len(bits))


def head(storage: torch.dtype) -> str:
    """The definitions that every kernel shares: the stored type X, the computed type S, and what moves between them."""
    return f"#define {STORAGE[storage]}\n#define BITS 0\n" + _template()["head"]


def inserted(template: str, step: fx.Graph, states: int, channel: Sequence[bool]) -> str:
    """Another kernel's text with the float32 `step` in the place of `//put BODY`; lists as in scan.cpp. It stands after `scalars()`."""
    body = statements(CPP, step, results(step), _inputs(states, channel), ["y0", *each("n{}", states)], torch.float32)
    values = range(len(channel))
    lists = {"state": range(states), "scalar": [j for j in values if not channel[j]], "channel": [j for j in values if channel[j]]}
    return f"#define STATES {states}\n#define VALUES {len(channel)}\n" + filled(template, "//", lists, {"BODY": body})


def scalars(kind: torch.dtype = torch.float32) -> str:
    """The type S, float32 or int32, and the functions that a printed step calls: none for int32."""
    if kind == torch.int32:
        return "typedef int32_t S;\n"
    return "#define FLOAT\n" + _template()["head"].partition("// a block is")[0]


def _inputs(states: int, channel: Sequence[bool]) -> list[str]:
    return ["x0", *each("v{}", states), *each("p{}", len(channel))]


@cache
def _template() -> dict[str, str]:
    text = resources.files(__package__).joinpath("scan.cpp").read_text()
    head, forward, backward = text.split("//---- ")
    return {"head": head, "forward": forward.split("\n", 1)[1], "backward": backward.split("\n", 1)[1]}


def _filled(
    which: str, states: int, channel: Sequence[bool], storage: torch.dtype, parts: dict[str, str], needs: Sequence[bool] = (),
    bits: int = 0, planes: int = 0,
) -> str:  # fmt: skip
    values = range(len(channel))
    lists: dict[str, Sequence[int]] = {
        "state": range(states),
        "bit": range(bits),
        "plane": range(planes),
        "scalar": [j for j in values if not channel[j]],
        "channel": [j for j in values if channel[j]],
        "grad": [j for j in values if needs and needs[1 + j]],
        "scalargrad": [j for j in values if needs and needs[1 + j] and not channel[j]],
        "channelgrad": [j for j in values if needs and needs[1 + j] and channel[j]],
    }
    counts = {"STATES": states, "VALUES": len(channel), "ARRAYS": sum(channel), "GRADS": sum(needs[1:]), "BITS": bits, "PLANES": planes}
    defined = [STORAGE[storage], *(f"{name} {count}" for name, count in counts.items()), *(["GRADX"] if needs and needs[0] else [])]
    head = "".join(f"#define {text}\n" for text in defined)
    return head + filled(_template()["head"] + _template()[which], "//", lists, parts)
