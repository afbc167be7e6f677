"""A neuron's `step`, and its vector-Jacobian product, as small ATen graphs on scalars."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from spikeloom.core.errors import ParameterError, SpikeloomError


class CannotFuse(SpikeloomError):
    """No kernel can be made of this `step`; the reference loop runs instead."""


class CannotPack(ParameterError):
    """The backward of this `step` needs more than a few bits per neuron and step."""


# operations that are linear in all operands that are no numbers, and those that are in their first
SUMS = {"add", "sub", "rsub", "neg", "detach", "alias", "clone", "view", "expand", "_to_copy", "zeros_like"}
FIRST = {"div", "sigmoid_backward", "tanh_backward", "threshold_backward"}
# names of the scale and shift per channel of a norm in front of a neuron; they come last among the values
AFFINE = ("norm scale", "norm shift")


def step_graph(neuron: Any, names: tuple[str, ...], dtype: torch.dtype) -> fx.Graph:
    """Graph of `step`. Inputs: x, the states, the values `names`. Outputs: spikes, the new states."""
    return _traced(_flat(neuron, names), 1 + len(neuron.states) + len(names), dtype)


def pull_graph(neuron: Any, names: tuple[str, ...], dtype: torch.dtype) -> fx.Graph:
    """Graph of the step's backward. Inputs: those of `step_graph`, then gradients of its outputs. Outputs: gradients of its inputs."""
    count = 1 + len(neuron.states) + len(names)
    step = _flat(neuron, names)

    def pull(*args: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [a.requires_grad_() for a in args[:count]]
        pairs = [(o, g) for o, g in zip(step(*inputs), args[count:], strict=True) if o.requires_grad]
        if not pairs:
            return (None,) * count
        return torch.autograd.grad([o for o, _ in pairs], inputs, [g for _, g in pairs], allow_unused=True)

    return _traced(pull, count + 1 + len(neuron.states), dtype)


def open_graph(pull: fx.Graph, states: int, wanted: Sequence[bool]) -> fx.Graph | None:
    """`pull` with another output: whether any of its outputs `wanted` is not 0. For 1 as the gradient of the spikes and 0 as those of the
    states it says whether any gradient of this spike goes anywhere.

    None where 1 does not stand for every gradient, because the backward is not linear, and where none goes anywhere.
    """
    gradients = set(pull.find_nodes(op="placeholder")[-1 - states :])
    for node in pull.nodes:
        if gradients.intersection(node.all_input_nodes) and node.op != "output":
            if not _linear(node, gradients):
                return None
            gradients.add(node)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in pull.nodes:
        if node.op != "output":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    found = []
    for node, want in zip(results(pull), wanted, strict=True):
        if want and isinstance(node, fx.Node):
            found.append(graph.call_function(torch.ops.aten.ne.Scalar, (copies[node], 0.0)))
            if len(found) > 1:
                found.append(graph.call_function(torch.ops.aten.logical_or.default, (found[-2], found[-1])))
            for new in found[-2:]:
                new.meta["val"] = torch.zeros((), dtype=torch.bool)
    graph.output(tuple(found[-1:]))
    return graph if found else None


def _linear(node: fx.Node, gradients: set[fx.Node]) -> bool:
    """Whether a node that reads gradients is linear in them."""
    given = [isinstance(a, fx.Node) and a in gradients for a in node.args]
    op = node.target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]
    if op == "mul" or op in FIRST:
        return sum(given) == 1 and (given[0] or op == "mul")
    if op == "where":
        return not given[0]
    return op in SUMS and all(given[k] for k, a in enumerate(node.args) if isinstance(a, fx.Node))


def _flat(neuron: Any, names: tuple[str, ...]) -> Any:
    """`neuron.step` with everything by position, after the norm's affine map where `names` end with it."""
    split = len(neuron.states)

    def step(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        values = SimpleNamespace(**dict(zip(names, rest[split:], strict=True)))
        if names[-2:] == AFFINE:
            x = x * rest[-2] + rest[-1]
        spikes, state = neuron.step(x, rest[:split], values)
        return (spikes, *state)

    return step


class _Recorder(TorchDispatchMode):
    """Writes down the ATen operations below autograd. A scalar is known by its address: an alias of it is the same number.

    torch's own `make_fx` does this, too, and takes seconds for its first call.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.nodes: dict[int, fx.Node] = {}
        self.alive: list[Tensor] = []
        for k, tensor in enumerate(inputs):
            self.keep(tensor, self.graph.placeholder(f"input{k}"))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would import its compiler, a second and a half, to keep it out of here; step is traced in a thread that it never sees."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not isinstance(out, Tensor):
            raise CannotFuse(f"{func} looks at a number while the step is traced")
        if out.dim():
            raise CannotFuse(f"{func} makes a tensor of shape {list(out.shape)} of one neuron")
        node = self.graph.call_function(_pure(func), *tree_map_only(Tensor, self.node, (args, kwargs)))
        self.keep(out, node)  # an operation in place gives its address a new number
        return out

    def keep(self, tensor: Tensor, node: fx.Node) -> None:
        node.meta["val"] = tensor
        self.alive.append(tensor)
        self.nodes[tensor.data_ptr()] = node

    def node(self, tensor: Tensor) -> fx.Node:
        if tensor.data_ptr() not in self.nodes:
            raise CannotFuse("step uses a tensor that is not among its values; return it from `values()`")
        return self.nodes[tensor.data_ptr()]


def _pure(func: Any) -> Any:
    """The operation that returns what `func` writes in place, as autograd's formulas do here and there."""
    if not func._schema.is_mutable:
        return func
    name = func._schema.name.removeprefix("aten::")
    if not name.endswith("_"):
        raise CannotFuse(f"{func} writes into a tensor that it is given")
    return getattr(getattr(torch.ops.aten, name.removesuffix("_")), func._overloadname)


def _traced(function: Any, inputs: int, dtype: torch.dtype) -> fx.Graph:
    def trace() -> fx.Graph:
        scalars = [torch.full((), 0.5, dtype=dtype, device="cpu") for _ in range(inputs)]
        with _Recorder(scalars) as recorder:
            outputs = function(*scalars)
        recorder.graph.output(tuple(0.0 if o is None else recorder.node(o) for o in outputs))
        return recorder.graph

    try:
        with ThreadPoolExecutor(1) as pool:  # a thread of its own knows neither autocast nor no_grad nor saved-tensor hooks of the caller
            return pool.submit(trace).result()
    except CannotFuse as error:
        raise CannotFuse(f"{error}; the reference loop runs") from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CannotFuse(f"step cannot be traced on scalars ({reason}); the reference loop runs") from error


def results(graph: fx.Graph) -> Sequence[Any]:
    """What the graph returns: nodes and constants."""
    return next(iter(graph.find_nodes(op="output"))).args[0]


def largest(step: fx.Graph) -> int:
    """The largest spike of a step that shows by its operations that all are whole numbers from 0 on; 0 where it does not."""
    ranges: dict[Any, tuple[float, float] | None] = {}
    for node in step.nodes:
        if node.op == "call_function":
            ranges[node] = (0, 1) if is_step(node) or node.meta["val"].dtype == torch.bool else _range(node, ranges)
    low, high = ranges.get(results(step)[0]) or (0, 0)
    return int(high) if low >= 0 else 0


def _range(node: fx.Node, ranges: dict[Any, tuple[float, float] | None]) -> tuple[float, float] | None:
    """The smallest and the largest value of a node that is a whole number."""
    op = node.target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]
    given = [ranges.get(a) if isinstance(a, fx.Node) else (a, a) if a in (0, 1) else None for a in node.args]
    if op in ("detach", "alias", "clone", "view", "expand", "_to_copy"):
        return given[0]
    if len(given) != 2 or None in given or node.kwargs:
        return None
    (a, b), (c, d) = given if op != "rsub" else given[::-1]  # type: ignore[misc]
    ends = {"add": [a + c, b + d], "sub": [a - d, b - c], "rsub": [a - d, b - c], "mul": [a * c, a * d, b * c, b * d]}.get(op)
    return ends and (min(ends), max(ends))


def is_step(node: fx.Node) -> bool:
    """relu(sign(z)): 1 where z > 0, else 0, without torch's slow truth values."""
    return _is(node, "relu") and _is(node.args[0], "sign")


def bits(pull: fx.Graph, states: int, wanted: Sequence[bool]) -> list[fx.Node]:
    """The nodes of value 0 or 1 that are all that the outputs `wanted` of a step's backward need to know of x and the states.

    Raises CannotPack where they need more: a surrogate that is not flat inside its window, a gradient through the reset.
    """
    inputs = pull.find_nodes(op="placeholder")
    gradients = set(inputs[len(wanted) :])
    for node in pull.nodes:
        if gradients.intersection(node.all_input_nodes):
            gradients.add(node)
    found, seen = [], set()
    stack = [node for node, want in zip(results(pull), wanted, strict=True) if want and isinstance(node, fx.Node)]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in inputs[: 1 + states]:
            raise CannotPack(
                f"memory: 'packed' keeps only truth values, but this neuron's backward needs {'x' if node is inputs[0] else 'the membrane'}"
                " itself; use surrogate='rectangle', reset_gradient='detached' and no learnable decay, or memory='input'"
            )
        if node not in gradients and node.op == "call_function" and (is_step(node) or node.meta["val"].dtype == torch.bool):
            found.append(node)
        else:
            stack.extend(node.all_input_nodes)
    return found


def _is(node: Any, op: str) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target._schema.name == f"aten::{op}"
