"""A neuron's `step`, and its vector-Jacobian product, as small ATen graphs on scalars."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.core.errors import SpikeloomError

_here = threading.local()


def _room() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "spikeloom-trace", initializer=setattr, initargs=(_here, "tracing", True))


# `step` is traced in a thread of its own, where no mode or guard of the caller reaches: it may be under torch.compile, fake tensors or
# autograd. The thread stays: FakeTensorMode of CUDA builds without a GPU crashes once the first thread that entered one has ended.
_worker = _room()


def _forked() -> None:
    global _worker
    _worker = _room()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def inside() -> bool:
    """The caller is a `step` that is being traced."""
    return getattr(_here, "tracing", False)


class CannotFuse(SpikeloomError):
    """No kernel can be made of this `step`; the reference loop runs instead."""


def step_graph(neuron: Any, names: tuple[str, ...], dtype: torch.dtype) -> fx.Graph:
    """Graph of `step`. Inputs: x, the states, the values `names`. Outputs: spikes, the new states."""
    return _traced(_flat(neuron, names), 1 + len(neuron.states) + len(names), dtype)


def pull_graph(neuron: Any, names: tuple[str, ...], dtype: torch.dtype) -> fx.Graph:
    """Graph of the step's backward. Inputs: those of `step_graph`, then gradients of its outputs. Outputs: gradients of its inputs."""
    count = 1 + len(neuron.states) + len(names)
    step = _flat(neuron, names)

    def pull(*args: Tensor) -> tuple[Tensor, ...]:
        outputs, back = torch.func.vjp(step, *args[:count])
        return back(tuple(g.expand_as(o) for g, o in zip(args[count:], outputs, strict=True)))

    return _traced(pull, count + 1 + len(neuron.states), dtype)


def _flat(neuron: Any, names: tuple[str, ...]) -> Any:
    split = len(neuron.states)

    def step(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        values = SimpleNamespace(**dict(zip(names, rest[split:], strict=True)))
        spikes, state = neuron.step(x, rest[:split], values)
        return (spikes, *state)

    return step


def _traced(function: Any, inputs: int, dtype: torch.dtype) -> fx.Graph:
    return _worker.submit(_trace, function, inputs, dtype).result()


def _trace(function: Any, inputs: int, dtype: torch.dtype) -> fx.Graph:
    from torch.fx.experimental.proxy_tensor import make_fx

    scalars = [torch.full((), 0.5, dtype=dtype, device="cpu") for _ in range(inputs)]
    try:
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            traced = make_fx(function)(*scalars)
            if any(node.op == "call_function" and node.target._schema.is_mutable for node in traced.graph.nodes):
                traced = make_fx(torch.func.functionalize(traced))(*scalars)  # autograd formulas write in place here and there
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CannotFuse(f"step cannot be traced on scalars ({reason}); the reference loop runs") from error
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            raise CannotFuse("step uses a tensor that is not among its values; return it from `values()`; the reference loop runs")
        shape = getattr(node.meta.get("val"), "shape", ())
        if len(shape):
            raise CannotFuse(f"{node.target} makes a tensor of shape {list(shape)} of one neuron; the reference loop runs")
    return traced.graph
