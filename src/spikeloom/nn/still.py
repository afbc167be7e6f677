"""A still image enters every step alike, so the layers that read it work once and their output is repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def readers(net: nn.Module, graph: fx.Graph | None) -> list[nn.Module]:
    """The convolutions and linear layers of `net` that take its input as it is, each called once in its `graph`."""
    modules = dict(net.named_modules())
    calls = [modules[node.target] for node in graph.nodes if node.op == "call_module"] if graph else []
    given = (node for node in graph.nodes if node.op == "placeholder") if graph else ()
    users = [modules[user.target] for node in given for user in node.users if user.op == "call_module"]
    return [layer for layer in users if type(layer) in LAYERS and sum(call is layer for call in calls) == 1]


@contextmanager
def held(layers: Sequence[nn.Module], steps: int) -> Iterator[None]:
    """Inside, each layer computes the first of `steps` equal blocks of rows and repeats it; hooks see whole input and output."""
    active = [layer for layer in layers if "forward" not in layer.__dict__]
    try:
        for layer in active:
            layer.__dict__["forward"] = _once(layer, steps)
        yield
    finally:
        for layer in active:
            layer.__dict__.pop("forward")


def _once(layer: nn.Module, steps: int) -> Any:
    def forward(x: Tensor) -> Tensor:
        y = type(layer).forward(layer, x[: len(x) // steps])
        return torch.cat([y] * steps)  # unlike expand and flatten, it keeps channels last

    return forward
