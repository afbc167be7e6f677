"""How a traced operation is called, where in the user's network it is, and which modules a spiking network can have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.convert.operations import Unfit
from spikeloom.convert.reasons import reason
from spikeloom.convert.vocabulary import ALL, AVERAGE_POOLS, CONVOLUTIONS, MAX_POOLS, NORMS, TRANSPOSED, cap, slope

_ALIASES = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "truediv": "div", "true_divide": "div", "multiply": "mul",
    "divide": "div", "subtract": "sub", "concat": "cat", "concatenate": "cat", "clip": "clamp",
}  # fmt: skip


def _raw(node: fx.Node, module: nn.Module | None) -> str:
    """The name of an operation as torch has it: `relu_`, `max_pool2d`, `BatchNorm2d`."""
    if module is not None:
        return type(module).__name__
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.split("::")[-1]
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def operation(node: fx.Node, module: nn.Module | None) -> str:
    """The name of an operation: one for all its forms, in place or not."""
    name = _raw(node, module)
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return _ALIASES.get(name, name)


def in_place(node: fx.Node, module: nn.Module | None) -> bool:
    """Does the operation write into its first input?"""
    name = _raw(node, module)
    marked = node.op != "call_module" and (name in ("iadd", "isub", "imul", "itruediv") or (name.endswith("_") and not name.endswith("__")))
    return marked or bool(node.kwargs.get("inplace")) or bool(getattr(module, "inplace", False))


def label(node: fx.Node, module: nn.Module | None) -> str:
    """A layer's name in the user's network; for a function, the name of the layer that calls it and its own."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
    if not path or path.startswith("_empty"):
        return operation(node, module)
    layer = kind.startswith("torch.nn.modules.") and not kind.endswith("Sequential")
    return path if layer else f"{path}.{operation(node, module)}"


def fit(module: Any, x: Tensor) -> None:
    """`Unfit` where a module, called on `x` (a shape), is not one that a spiking network can have."""
    axes = x.dim()
    if type(module) not in ALL:
        raise Unfit(reason(type(module).__name__))
    if isinstance(module, nn.Hardtanh) and (module.min_val != 0 or not cap(module) > 0):
        raise Unfit(f"clamps between {module.min_val} and {module.max_val}; must be from 0 to more; train with ReLU or ReLU6 in its place")
    if not 0 <= slope(module) <= 1:
        raise Unfit(f"its slope below 0 is {slope(module)}; must be from 0 to 1; train with another")
    if isinstance(module, NORMS) and module.running_mean is None:
        raise Unfit("normalises by the statistics of the batch; train with track_running_stats=True")
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and axes != module.weight.dim():
        raise Unfit(f"its input is {tuple(x.shape)}; must have {module.weight.dim()} axes, [B, C, ...]")
    if isinstance(module, nn.Linear) and axes != 2:
        raise Unfit(f"its input is {tuple(x.shape)}; must be [B, features]; flatten before it")
    if isinstance(module, (*MAX_POOLS, *AVERAGE_POOLS)) and axes != int(type(module).__name__[-2]) + 2:
        raise Unfit(f"its input is {tuple(x.shape)}; must be [B, C, ...] with {type(module).__name__[-2]} axes of space")
    if getattr(module, "return_indices", False):
        raise Unfit("gives indices too; set return_indices=False")
    if isinstance(module, nn.Flatten) and module.start_dim % axes == 0:
        raise Unfit("flattens the batch; give start_dim=1")
    if isinstance(module, (nn.Softmax, nn.LogSoftmax)) and module.dim not in (1, 1 - axes):
        raise Unfit(f"over axis {module.dim}; must be over the classes, axis 1")
