"""Prints a scalar ATen graph as C++ statements, and sets them into the two scans of `scan.cpp`. No neuron is named here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import fx

from spikeloom.engine.trace import CannotFuse, is_step, results

COMPUTE = {torch.float64: torch.float64, torch.float32: torch.float32, torch.bfloat16: torch.float32, torch.float16: torch.float32}
STORAGE = {torch.float64: "DOUBLE", torch.float32: "FLOAT", torch.bfloat16: "BFLOAT16", torch.float16: "HALF"}

# {0}, {1} ... are the operands; S is the type the kernel computes in; U(f) is the builtin of that type
SCALAR = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "rsub": "{1} - {0}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}",
    "reciprocal": "S(1) / {0}", "abs": "U(fabs)({0})", "sqrt": "U(sqrt)({0})", "rsqrt": "S(1) / U(sqrt)({0})",
    "sign": "S({0} > 0) - S({0} < 0)", "sgn": "S({0} > 0) - S({0} < 0)", "relu": "{0} < 0 ? S(0) : {0}",
    "exp": "Exp({0})", "tanh": "Tanh({0})", "sigmoid": "Sigmoid({0})", "log": "U(log)({0})", "atan": "U(atan)({0})",
    "erf": "U(erf)({0})", "sin": "U(sin)({0})", "cos": "U(cos)({0})",
    "floor": "U(floor)({0})", "ceil": "U(ceil)({0})", "round": "U(rint)({0})", "trunc": "U(trunc)({0})",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "logical_not": "!{0}", "logical_and": "bool({0}) & bool({1})", "logical_or": "bool({0}) | bool({1})",
    "bitwise_not": "!{0}", "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "where": "{0} ? {1} : {2}",
    "minimum": "({0} < {1}) | ({0} != {0}) ? {0} : {1}", "maximum": "({0} > {1}) | ({0} != {0}) ? {0} : {1}",
    "clamp_min": "{0} < {1} ? {1} : {0}", "clamp_max": "{0} > {1} ? {1} : {0}",
    "sigmoid_backward": "{0} * (S(1) - {1}) * {1}", "tanh_backward": "{0} * (S(1) - {1} * {1})",
    "threshold_backward": "{1} <= {2} ? S(0) : {0}",
}  # fmt: skip
SAME = {"_to_copy", "detach", "alias", "clone", "expand", "expand_as", "view", "view_as", "contiguous", "lift_fresh_copy", "positive"}
CONSTANT = {"zeros_like": 0.0, "ones_like": 1.0, "zeros": 0.0, "ones": 1.0, "new_zeros": 0.0, "new_ones": 1.0}
POWERS = {0: "S(1)", 1: "{0}", 2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "U(sqrt)({0})", -1: "S(1) / {0}", -2: "S(1) / ({0} * {0})"}
LOGICAL = {"logical_not", "bitwise_not", "logical_and", "logical_or", "bitwise_and", "bitwise_or", "where", "eq", "ne"}  # take truth values
FREE = {"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "implicit"}  # say nothing about a scalar's value


def forward_source(
    step: fx.Graph, states: int, channel: Sequence[bool], storage: torch.dtype, pull: fx.Graph | None = None, bits: Sequence[fx.Node] = ()
) -> str:
    """C++ of the scan that writes spikes and states, and the nodes `bits` of `pull`. channel: which values have one entry per channel."""
    dtype, inputs = COMPUTE[storage], _inputs(states, channel)
    body = statements(step, results(step), inputs, ["y0", *_each("n{}", states)], dtype)
    if pull and bits:
        nothing = ["S(0)"] * (1 + states)  # bits do not depend on gradients
        body += "\n" + statements(pull, bits, [*inputs, *nothing], _each("k{}", len(bits)), dtype, prefix="q")
    return _filled("forward", states, channel, storage, {"BODY": body}, bits=len(bits))


def backward_source(
    step: fx.Graph, pull: fx.Graph, states: int, channel: Sequence[bool], storage: torch.dtype, needs: Sequence[bool],
    bits: Sequence[fx.Node] = (),
) -> str:  # fmt: skip
    """C++ of the scan that walks back, after recomputing the states, or from `bits`. needs: which of x and the values need a gradient."""
    dtype, inputs = COMPUTE[storage], _inputs(states, channel)
    replay = statements(step, results(step), inputs, [None, *_each("n{}", states)], dtype) if not bits else ""
    wanted = ["gx0" if needs[0] else None, *_each("m{}", states), *(f"d{j}" if need else None for j, need in enumerate(needs[1:]))]
    given = {node: f"k{k}" for k, node in enumerate(bits)}
    body = statements(pull, results(pull), [*inputs, "gy0", *_each("h{}", states)], wanted, dtype, given)
    return _filled("backward", states, channel, storage, {"REPLAY": replay, "BODY": body}, needs, len(bits))


def statements(
    graph: fx.Graph, nodes: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str | None], dtype: torch.dtype,
    given: Mapping[fx.Node, str] | None = None, prefix: str = "r",
) -> str:  # fmt: skip
    """C++ that computes `nodes` of the graph: nodes[i] becomes the new variable `outputs[i]` (None: not computed).

    inputs: variables of the graph's inputs. given: nodes that are variables already. prefix: of the new variables.
    """
    known: dict[fx.Node, str] = {**dict(zip(graph.find_nodes(op="placeholder"), inputs, strict=True)), **(given or {})}
    names = dict(known)
    wanted = [(node, name) for node, name in zip(nodes, outputs, strict=True) if name is not None]
    live: set[fx.Node] = set()
    stack = [node for node, _ in wanted if isinstance(node, fx.Node)]
    while stack:
        node = stack.pop()
        if node not in live and node not in known:
            live.add(node)
            stack.extend(node.all_input_nodes)
    lines = []
    for node in graph.nodes:
        if node in live and node.op == "call_function":
            kind = _kind(node, dtype)
            names[node] = f"{prefix}{len(lines)}"
            lines.append(f"const {kind} {names[node]} = {_expression(node, names, kind)};")
    for node, name in wanted:
        lines.append(f"const S {name} = {names[node] if isinstance(node, fx.Node) else 'S(0)'};")
    return "\n".join(lines)


def _kind(node: fx.Node, dtype: torch.dtype) -> str:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor) or value.dtype not in (dtype, torch.bool):
        given = getattr(value, "dtype", type(value).__name__)
        raise CannotFuse(f"{node.target} gives {given} among {dtype} scalars; the reference loop runs")
    return "bool" if value.dtype == torch.bool else "S"


def _expression(node: fx.Node, names: dict[fx.Node, str], kind: str) -> str:
    op = node.target._schema.name.removeprefix("aten::")
    left = {k: v for k, v in node.kwargs.items() if k not in FREE and v is not None and not (k == "alpha" and v == 1)}
    operands = [_operand(a, names) for a in node.args]
    bools = [isinstance(a, fx.Node) and a.meta["val"].dtype == torch.bool for a in node.args]
    if op in SAME and not left:
        return f"{kind}({operands[0]})"
    if op in CONSTANT and not left:
        return f"{kind}({CONSTANT[op]:g})"
    if op in ("full", "full_like", "scalar_tensor", "new_full") and not left:
        value = node.args[0] if op == "scalar_tensor" else node.args[-1]
        return f"{kind}({_literal(value)})"
    if op == "pow" and not left and node.args[1] in POWERS:
        return POWERS[node.args[1]].format(*operands)
    if op == "clamp" and not left:
        low, high = ([*node.args[1:], None, None])[:2]
        return _clamp(operands[0], low, high, names)
    if is_step(node):  # relu(sign(z)), the branch-free step function, as one compare
        return f"{names[node.args[0].args[0]]} > 0 ? S(1) : S(0)"
    fits = op in SCALAR and not left and len(operands) == 1 + max(map(int, re.findall(r"{(\d)}", SCALAR[op])))
    if not fits or (kind == "bool" and any(bools) and op not in LOGICAL):
        raise CannotFuse(f"{node.target} has no scalar form; the reference loop runs")
    return SCALAR[op].format(*operands)


def _clamp(value: str, low: Any, high: Any, names: dict[fx.Node, str]) -> str:
    text = value
    if low is not None:
        text = f"({SCALAR['clamp_min'].format(text, _operand(low, names))})"
    return text if high is None else SCALAR["clamp_max"].format(text, _operand(high, names))




def _operand(value: Any, names: dict[fx.Node, str]) -> str:
    if isinstance(value, fx.Node):
        return names[value]
    return f"S({_literal(value)})" if isinstance(value, int | float) else repr(value)


def _literal(value: float) -> str:
    value = float(value)
    if math.isnan(value):
        return '__builtin_nan("")'
    return repr(value) if math.isfinite(value) else ("-" if value < 0 else "") + "__builtin_inf()"


def _each(text: str, count: int) -> list[str]:
    return [text.format(k) for k in range(count)]


def _inputs(states: int, channel: Sequence[bool]) -> list[str]:
    return ["x0", *_each("v{}", states), *_each("p{}", len(channel))]


def head(storage: torch.dtype) -> str:
    """The definitions that every kernel shares: the stored type X, the computed type S, and what moves between them."""
    return f"#define {STORAGE[storage]}\n#define BITS 0\n" + _template()["head"]


@cache
def _template() -> dict[str, str]:
    text = resources.files(__package__).joinpath("scan.cpp").read_text()
    head, forward, backward = text.split("//---- ")
    return {"head": head, "forward": forward.split("\n", 1)[1], "backward": backward.split("\n", 1)[1]}


def _filled(
    which: str, states: int, channel: Sequence[bool], storage: torch.dtype, parts: dict[str, str], needs: Sequence[bool] = (), bits: int = 0
) -> str:
    """The template with each `/*each state|scalar|channel|...: text with @*/` repeated and each `/*NAME*/` replaced."""
    values = range(len(channel))
    lists: dict[str, Sequence[int]] = {
        "state": range(states),
        "bit": range(bits),
        "scalar": [j for j in values if not channel[j]],
        "channel": [j for j in values if channel[j]],
        "grad": [j for j in values if needs and needs[1 + j]],
        "scalargrad": [j for j in values if needs and needs[1 + j] and not channel[j]],
        "channelgrad": [j for j in values if needs and needs[1 + j] and channel[j]],
    }
    counts = {"STATES": states, "VALUES": len(channel), "ARRAYS": sum(channel), "GRADS": sum(needs[1:]), "BITS": bits}
    defined = [STORAGE[storage], *(f"{name} {count}" for name, count in counts.items()), *(["GRADX"] if needs and needs[0] else [])]
    lines = [f"#define {text}" for text in defined]
    for line in (_template()["head"] + _template()[which]).splitlines():
        stripped = line.strip()
        if stripped.startswith("//each "):
            name, text = stripped.removeprefix("//each ").split(": ", 1)
            lines.extend(text.replace("@", str(k)) for k in lists[name])
        elif stripped.startswith("//put "):
            lines.append(parts[stripped.removeprefix("//put ")])
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
