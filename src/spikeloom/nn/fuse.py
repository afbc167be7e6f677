"""Norms that run inside the kernel of the neuron behind them, found in the graph of a network.

The norm's affine map per channel and the neuron's `step` are composed, traced and printed as one: x is read once after its statistics,
the normalised input exists nowhere. Modules stay where they are; a pair works together only while its SNN runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module

from spikeloom.core.temporal import Temporal
from spikeloom.neurons import Neuron
from spikeloom.nn.norms.base import AffineNorm, scale_and_shift, track

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Pair:
    """A norm, by its name in the network, whose output only `neuron` reads.

    between: the two, and the containers that a call enters or leaves from one to the other.
    """

    name: str
    norm: AffineNorm | BatchNorm
    neuron: Neuron
    between: tuple[nn.Module, ...]

    @property
    def watched(self) -> bool:
        """Whether a hook looks at what flows between them: then each does its own work."""
        return any(getattr(module, hooks) for module in self.between for hooks in HOOKS)


def traced(net: nn.Module) -> tuple[fx.Graph | None, str]:
    """The graph of `net`, modules that unfold time as its leaves; or None and the reason."""
    try:
        return _Tracer().trace(net), ""
    except Exception as error:  # whatever a user's forward does with a symbol
        return None, f"the network cannot be traced ({(str(error) or type(error).__name__).splitlines()[0]})"


def pairs(net: nn.Module, graph: fx.Graph | None) -> list[Pair]:
    """The pairs of `net` in its `graph`; none without one."""
    if graph is None:
        return []
    modules = dict(net.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses: dict[int, int] = {}
    for node in calls:
        uses[id(modules[node.target])] = uses.get(id(modules[node.target]), 0) + 1
    found = []
    for node in calls:
        follower = next(iter(node.users), None)
        if len(node.users) != 1 or follower is None or follower.op != "call_module":
            continue
        norm, neuron = _affine(modules[node.target]), modules[follower.target]
        once = uses[id(modules[node.target])] == uses[id(neuron)] == 1
        if norm is not None and once and isinstance(neuron, Neuron) and neuron.starts_at_zero:
            found.append(Pair(node.target, norm, neuron, tuple(modules[name] for name in _path(node.target, follower.target))))
    return found


@contextmanager
def fused(found: Sequence[Pair]) -> Iterator[None]:
    """Inside, each pair's norm hands its input on and its neuron applies the norm."""
    active = [] if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks else [p for p in found if not p.watched]
    try:
        for pair in active:
            pair.norm.deferred = True
            pair.neuron.__dict__["_norm"] = pair.norm
        yield
    finally:
        for pair in active:
            pair.norm.deferred = False
            pair.neuron.__dict__["_norm"] = None


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Temporal) or super().is_leaf_module(m, module_qualified_name)


def _path(norm: str, neuron: str) -> list[str]:
    """Names of the two and of the containers that hold one of them and not the other."""
    mine, theirs = (name.split(".") for name in (norm, neuron))
    common = 0
    while common < min(len(mine), len(theirs)) and mine[common] == theirs[common]:
        common += 1
    return [".".join(parts[:k]) for parts in (mine, theirs) for k in range(common + 1, len(parts) + 1)]


def _affine(module: nn.Module) -> AffineNorm | BatchNorm | None:
    if isinstance(module, AffineNorm):
        return module
    plain = type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return BatchNorm(module) if plain and module.track_running_stats and module.momentum is not None else None


class BatchNorm:
    """torch's batch norm seen as an `AffineNorm`."""

    def __init__(self, module: Any) -> None:
        self.module = module

    @property
    def deferred(self) -> bool:
        return "forward" in self.module.__dict__

    @deferred.setter
    def deferred(self, value: bool) -> None:
        if value:
            self.module.__dict__["forward"] = lambda x: x
        else:
            self.module.__dict__.pop("forward", None)

    @property
    def training(self) -> bool:
        return self.module.training

    @property
    def running_mean(self) -> Tensor:
        return self.module.running_mean

    @property
    def running_var(self) -> Tensor:
        return self.module.running_var

    def affine(self, mean: Tensor, variance: Tensor, *learned: Tensor) -> tuple[Tensor, Tensor]:
        return scale_and_shift(torch.rsqrt(variance + self.module.eps), mean, learned)

    def learned(self) -> tuple[Tensor, ...]:
        return (self.module.weight, self.module.bias) if self.module.affine else ()

    def observe(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.module.num_batches_tracked += 1
        track(self.module, mean, variance, count)

    def normalise(self, x: Tensor) -> Tensor:
        return type(self.module).forward(self.module, x)
