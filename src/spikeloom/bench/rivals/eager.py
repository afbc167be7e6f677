"""Plain torch, operation by operation: our reference loop, and for MLF the equations as the authors' released code has them."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom import engine
from spikeloom.bench.rivals.base import Contender, OverTime, Rival, constants
from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN


class Eager(Rival):
    """Autograd over the time loop."""

    impl = "eager"

    def neuron(self, kind: Neuron) -> Contender:
        neuron = copy.deepcopy(kind)
        if _as_released(neuron):
            numbers = {name: value for name, value in constants(neuron).items() if name in neuron.params}
            released = partial(released_mlf, levels=neuron.levels, **numbers)
            return Contender(self.impl, released, kind, backend="eager", note="the equations of the authors' released code")

        def call(x: Tensor) -> Tensor:
            return engine.reference.scan(neuron, x, x.shape[0], neuron.initial(x[:1]), SimpleNamespace(**neuron.values()))[0]

        learned = tuple(p for p in neuron.parameters() if p.requires_grad)
        return Contender(self.impl, call, kind, learned, tuple(neuron.buffers()), "reference", "our reference loop")

    def network(self, net: nn.Module) -> nn.Module:
        return _Reference(SNN(copy.deepcopy(net), steps=1, encoder=None))


class _Reference(OverTime):
    """On the reference loop, whatever kernels there are."""

    def forward(self, x: Tensor) -> Tensor:
        with reference_backend():
            return super().forward(x)


@contextmanager
def reference_backend() -> Iterator[None]:
    """Neurons called inside run the reference loop."""
    before = os.environ.get("SPIKELOOM_BACKEND")
    os.environ["SPIKELOOM_BACKEND"] = "reference"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SPIKELOOM_BACKEND"]
        else:
            os.environ["SPIKELOOM_BACKEND"] = before


def _as_released(neuron: Neuron) -> bool:
    if type(neuron).__name__ != "MLF" or neuron.learnable:
        return False
    chosen = (neuron.reset, neuron.reset_gradient, neuron.fires, repr(neuron.surrogate))
    return chosen == ("zero", "through", "above", "Rectangle(width=1)")


def released_mlf(x: Tensor, *, levels: int, decay: float, threshold: float, spacing: float) -> Tensor:
    """x `[T, N]` to spikes `[T, N]`: u_k = decay u_k (1 - o_k) + x, o_k = [u_k > threshold_k], window of width 1, output the sum."""
    membranes = [torch.zeros_like(x[0])] * levels
    spikes = [torch.zeros_like(x[0])] * levels
    outputs = []
    for x_t in x:
        for k in range(levels):
            membranes[k] = decay * membranes[k] * (1 - spikes[k]) + x_t
            spikes[k] = _Window.apply(membranes[k], threshold + k * spacing)
        outputs.append(sum(spikes[1:], spikes[0]))
    return torch.stack(outputs)


class _Window(torch.autograd.Function):
    """Strict step, rectangular window of width 1."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.threshold = threshold
        return u.gt(threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return grad * (abs(u - ctx.threshold) < 0.5).to(u.dtype), None
