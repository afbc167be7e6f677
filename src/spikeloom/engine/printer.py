"""Prints a scalar ATen graph as statements of a language, and sets them into that language's template. No neuron is named here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from spikeloom.engine.trace import CannotFuse, is_step

COMPUTE = {torch.float64: torch.float64, torch.float32: torch.float32, torch.bfloat16: torch.float32, torch.float16: torch.float32}

SAME = {"_to_copy", "detach", "alias", "clone", "expand", "expand_as", "view", "view_as", "contiguous", "lift_fresh_copy", "positive"}
CONSTANT = {"zeros_like": 0.0, "ones_like": 1.0, "zeros": 0.0, "ones": 1.0, "new_zeros": 0.0, "new_ones": 1.0}
LOGICAL = {"logical_not", "bitwise_not", "logical_and", "logical_or", "bitwise_and", "bitwise_or", "where", "eq", "ne"}  # take truth values
FREE = {"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "implicit"}  # say nothing about a scalar's value


@dataclass(frozen=True)
class Language:
    """How scalars are written. A kind is `S`, the type the kernel computes in, or `bool`.

    scalar: ATen op to expression of its operands {0}, {1} ...; and `step`, 1 where {0} > 0, else 0.
    statement: defines the new variable {name} of {kind} as {text}.
    number: a value as a constant of a kind. cast: a text of one kind as another.
    """

    scalar: Mapping[str, str]
    statement: str
    number: Callable[[float, str], str]
    cast: Callable[[str, str, str], str]


def statements(
    language: Language, graph: fx.Graph, nodes: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str | None], dtype: torch.dtype,
    given: Mapping[fx.Node, str] | None = None, prefix: str = "r",
) -> str:  # fmt: skip
    """Text that computes `nodes` of the graph: nodes[i] becomes the new variable `outputs[i]` (None: not computed).

    inputs: variables of the graph's inputs. given: nodes that are variables already. prefix: of the new variables.
    """
    names: dict[fx.Node, str] = {**dict(zip(graph.find_nodes(op="placeholder"), inputs, strict=True)), **(given or {})}
    wanted = [(node, name) for node, name in zip(nodes, outputs, strict=True) if name is not None]
    live: set[fx.Node] = set()
    stack = [node for node, _ in wanted if isinstance(node, fx.Node)]
    while stack:
        node = stack.pop()
        if node not in live and node not in names:
            live.add(node)
            stack.extend(node.args[0].all_input_nodes if is_step(node) else node.all_input_nodes)
    lines = []
    for node in graph.nodes:
        if node in live:
            kind = _kind(node, dtype)
            names[node] = f"{prefix}{len(lines)}"
            lines.append(language.statement.format(kind=kind, name=names[node], text=_expression(language, node, names, kind)))
    for node, name in wanted:
        text = language.cast(names[node], _held(node), "S") if isinstance(node, fx.Node) else language.number(0.0, "S")
        lines.append(language.statement.format(kind="S", name=name, text=text))
    return "\n".join(lines)


def filled(template: str, mark: str, lists: Mapping[str, Sequence[int]], parts: Mapping[str, str]) -> str:
    """The template with each line `<mark>each list: text with @` repeated and each line `<mark>put PART` replaced."""
    lines = []
    for line in template.splitlines():
        stripped = line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        if stripped.startswith(f"{mark}each "):
            name, text = stripped.removeprefix(f"{mark}each ").split(": ", 1)
            lines.extend(indent + text.replace("@", str(k)) for k in lists[name])
        elif stripped.startswith(f"{mark}put "):
            lines.extend(indent + text for text in parts[stripped.removeprefix(f"{mark}put ")].splitlines())
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def each(text: str, count: int) -> list[str]:
    """`text` with {} as 0, 1 ... count - 1."""
    return [text.format(k) for k in range(count)]


def _held(node: fx.Node) -> str:
    return "bool" if node.meta["val"].dtype == torch.bool else "S"


def _kind(node: fx.Node, dtype: torch.dtype) -> str:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor) or value.dtype not in (dtype, torch.bool):
        given = getattr(value, "dtype", type(value).__name__)
        raise CannotFuse(f"{node.target} gives {given} among {dtype} scalars; the reference loop runs")
    return _held(node)


def _expression(language: Language, node: fx.Node, names: dict[fx.Node, str], kind: str) -> str:
    op, scalar = node.target._schema.name.removeprefix("aten::"), language.scalar
    if is_step(node):
        return scalar["step"].format(names[node.args[0].args[0]])
    left = {k: v for k, v in node.kwargs.items() if k not in FREE and v is not None and not (k == "alpha" and v == 1)}
    operands = [_operand(language, a, names) for a in node.args]
    bools = [isinstance(a, fx.Node) and a.meta["val"].dtype == torch.bool for a in node.args]
    if op in SAME and not left:
        return language.cast(operands[0], "bool" if bools[0] else "S", kind)
    if op in CONSTANT and not left:
        return language.number(CONSTANT[op], kind)
    if op in ("full", "full_like", "scalar_tensor", "new_full") and not left:
        value = node.args[0] if op == "scalar_tensor" else node.args[-1]
        return language.number(value, kind)
    powers = _powers(language)
    if op == "pow" and not left and node.args[1] in powers:
        return powers[node.args[1]].format(*operands)
    if op == "clamp" and not left:
        low, high = ([*node.args[1:], None, None])[:2]
        return _clamp(language, operands[0], low, high, names)
    fits = op in scalar and not left and len(operands) == 1 + max(map(int, re.findall(r"{(\d)}", scalar[op])))
    if not fits or (kind == "bool" and any(bools) and op not in LOGICAL):
        raise CannotFuse(f"{node.target} has no scalar form; the reference loop runs")
    return scalar[op].format(*operands)


def _powers(language: Language) -> dict[float, str]:
    inverse = language.scalar["reciprocal"]
    return {
        0: language.number(1.0, "S"), 1: "{0}", 2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: language.scalar["sqrt"],
        -1: inverse, -2: inverse.format("({0} * {0})"),
    }  # fmt: skip


def _clamp(language: Language, value: str, low: Any, high: Any, names: dict[fx.Node, str]) -> str:
    text = value
    if low is not None:
        text = f"({language.scalar['clamp_min'].format(text, _operand(language, low, names))})"
    return text if high is None else language.scalar["clamp_max"].format(text, _operand(language, high, names))


def _operand(language: Language, value: Any, names: dict[fx.Node, str]) -> str:
    if isinstance(value, fx.Node):
        return names[value]
    return language.number(value, "S") if isinstance(value, int | float) else repr(value)
