"""Which part of a step's processor time goes where: every operation belongs to the module that called it, its backward too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from spikeloom.neurons import Neuron
from spikeloom.nn.norms import TemporalNorm

PARTS = ("convolution", "norm", "neuron", "rest")
_MARK = "part:"
_CONVOLUTION, _NORM = (nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, TemporalNorm)


def part(module: nn.Module) -> str | None:
    """The part that a module without children stands for; None when it is part of the rest."""
    name = type(module).__name__
    if isinstance(module, _CONVOLUTION):
        return "convolution"
    if isinstance(module, _NORM) or "BatchNorm" in name:
        return "norm"
    # the neurons of SpikingJelly are nodes
    return "neuron" if isinstance(module, Neuron | nn.ReLU) or name.endswith("Node") else None


def measure(step: Callable[[], object]) -> dict[str, float]:
    """Shares of the self CPU time of one `step`, by part; they sum to 1. A norm that runs in its neuron's kernel counts as neuron."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler writes to stderr
    with marked(), profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    return _shares(seen.events())


@contextmanager
def marked() -> Iterator[None]:
    """Calls of modules inside are scopes that a profile can see. Not by hooks: where a hook looks, an SNN does not fuse."""
    plain = nn.Module.__call__

    def call(self: nn.Module, *args: Any, **options: Any) -> Any:
        kind = part(self)
        if kind is None:
            return plain(self, *args, **options)
        with record_function(_MARK + kind):
            return plain(self, *args, **options)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = plain  # type: ignore[method-assign]


def _shares(events: Any) -> dict[str, float]:
    called: dict[int, str] = {}  # forward's sequence number -> part
    for event in events:
        if event.sequence_nr >= 0 and _backward_root(event) is None:
            called.setdefault(event.sequence_nr, _marked_part(event))
    spent = dict.fromkeys(PARTS, 0.0)
    for event in events:
        if event.name.startswith(_MARK):
            kind = event.name.removeprefix(_MARK)
        else:
            root = _backward_root(event)
            kind = _marked_part(event) if root is None else called.get(root.sequence_nr, "rest")
        spent[kind] += max(0.0, event.self_cpu_time_total)
    total = sum(spent.values()) or 1.0
    return {kind: seconds / total for kind, seconds in spent.items()}


def _backward_root(event: Any) -> Any:
    while event is not None:
        if event.name.startswith("autograd::engine::evaluate_function"):
            return event
        event = event.cpu_parent
    return None


def _marked_part(event: Any) -> str:
    while event is not None:
        if event.name.startswith(_MARK):
            return event.name.removeprefix(_MARK)
        event = event.cpu_parent
    return "rest"
