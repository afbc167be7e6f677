"""The Triton scans of one `step`, launched. Triton is imported at the first kernel, never before."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor

from spikeloom.core.errors import SpikeloomError, refusal
from spikeloom.engine import cache as compiled
from spikeloom.engine import trace
from spikeloom.engine.printer import COMPUTE
from spikeloom.engine.trace import CannotFuse, CannotPack
from spikeloom.engine.triton import backward_source, forward_source

Tensors = tuple[Tensor, ...]
MOST = 2**31 - 1024  # neurons that 32-bit indices reach
# contraction into fused multiply-adds would flip spikes against the reference loop
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


class TritonKernel:
    """Triton scans of one `step`, with the interface of the compiled `Kernel`; one source per length of a segment.

    needs: which of x and the values need a gradient; empty for none, not even of the states.
    """

    bits, emits = 0, 0

    def __init__(
        self, neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], storage: torch.dtype, needs: tuple[bool, ...], memory: str
    ) -> None:
        version()
        if memory == "packed" and needs:
            raise CannotPack("memory: 'packed' is kept by the CPU's kernels only; use memory='input' with Triton")
        self.states, self.dtype, self.needs = len(neuron.states), COMPUTE[storage], needs
        step = trace.step_graph(neuron, names, self.dtype)
        self.sources: dict[str, Any] = {"forward": lambda steps: forward_source(step, self.states, channel, storage, steps)}
        if needs:
            pull = trace.pull_graph(neuron, names, self.dtype)
            self.sources["backward"] = lambda steps: backward_source(step, pull, self.states, channel, storage, needs, steps)
        for source in self.sources.values():
            source(1)  # what cannot be printed is refused now
        self.nowhere = (None,) * self.states
        self.functions: dict[tuple[str, int, bool], tuple[Any, int, int]] = {}

    def run(
        self, x: Tensor, steps: int, inner: int, first: Tensors | None, keep: bool, values: Sequence[Tensor], bits: None = None,
        words: None = None,
    ) -> tuple[Tensor, Tensors]:  # fmt: skip
        """Spikes, and with `keep` the final state. x, first and values are dense and lie in memory as the kernel walks."""
        spikes = torch.empty_like(x)
        last = tuple(self._like_state(x, steps) for _ in range(self.states)) if keep else ()
        function, block, count = self._function("forward", steps)
        size = _size(x, steps, count, inner)
        _launch(function, block, size, x, spikes, *(first or self.nowhere), *(last or self.nowhere), *values)
        return spikes, last

    def pull(
        self, x: Tensor, grad: Tensor, steps: int, inner: int, first: Tensors, values: Sequence[Tensor], glast: Tensors, wanted: bool
    ) -> tuple[Tensor | None, Tensors, list[Tensor | None]]:
        """Gradients of x, of the initial state (if `wanted`) and of the values. grad has x's dtype and lies in memory as x."""
        function, block, count = self._function("backward", steps)
        size = _size(x, steps, count, inner)
        gx = torch.empty_like(x) if self.needs[0] else None
        gfirst = tuple(self._like_state(x, steps) for _ in range(self.states)) if wanted else ()
        tape = torch.empty(count * self.states * size[0], dtype=self.dtype, device=x.device) if count > 1 and self.states else None
        wide = [torch.empty(size[0], dtype=self.dtype, device=x.device) if need else None for need in self.needs[1:]]
        states = (*(first or self.nowhere), *(glast or self.nowhere), *(gfirst or self.nowhere))
        _launch(function, block, size, x, grad, gx, tape, *states, *values, *wide)
        return gx, gfirst, [None if w is None else _summed(w, v, inner) for w, v in zip(wide, values, strict=True)]

    def _function(self, which: str, steps: int) -> tuple[Any, int, int]:
        """The scan over `steps`, how many neurons a program of it takes, and in how many segments it walks."""
        key = (which, steps, interpreted())
        if key not in self.functions:
            source, count = self.sources[which](steps)
            module = _module(source, interpreted())
            self.functions[key] = getattr(module, which), module.BLOCK.value, count
        return self.functions[key]

    def _like_state(self, x: Tensor, steps: int) -> Tensor:
        return torch.empty_like(x[: x.shape[0] // steps], dtype=self.dtype)


def interpreted() -> bool:
    """Kernels run on the CPU, in Triton's interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def version() -> str:
    """Triton's version. Raises CannotFuse where it cannot be imported."""
    try:
        import triton
    except ImportError as error:
        raise CannotFuse(f"no Triton ({error}); pip install 'spikeloom[gpu]'; the reference loop runs") from error
    return triton.__version__


def _size(x: Tensor, steps: int, count: int, inner: int) -> tuple[int, int, int, int, int]:
    neurons = x.numel() // steps
    if neurons > MOST:
        raise SpikeloomError(refusal("neurons of a Triton kernel", neurons, f"at most {MOST}", "split the batch"))
    return neurons, steps, count, inner, x.shape[1] if x.dim() > 1 else 1


def _launch(function: Any, block: int, size: tuple[int, ...], x: Tensor, *rest: Any) -> None:
    launch = function[(-(-size[0] // block),)]
    # the interpreter is numpy: infinities and NaN are no errors
    with numpy.errstate(all="ignore") if interpreted() else torch.cuda.device(x.device):
        launch(*size, x, *rest, **OPTIONS)


def _summed(wide: Tensor, value: Tensor, inner: int) -> Tensor:
    """The gradient of `value` from its share of every neuron: `[N]`, channel (n // inner) % C. Summed in float64, in a fixed order."""
    channels = value.numel()
    total = wide.view(-1, channels, inner).sum((0, 2), dtype=torch.float64) if channels > 1 else wide.sum(dtype=torch.float64)
    return total.to(value.dtype).view(value.shape)


@cache
def _module(source: str, interpreted: bool) -> ModuleType:
    """The module of `source`, which Triton reads from a file: in the private cache folder, under a name of its own."""
    name = f"spikeloom_{hashlib.sha256(source.encode()).hexdigest()}"
    path = compiled.folder() / f"{name}.py"
    if not path.exists() or path.read_text() != source:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(source)
        os.replace(file.name, path)
    module = ModuleType(name)
    exec(compile(source, str(path), "exec"), vars(module))
    return module
