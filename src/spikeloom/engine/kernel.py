"""The compiled scan as one autograd function."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp, trace

Tensors = tuple[Tensor, ...]


class Kernel:
    """Compiled scans of one `step`: of one neuron class, its options, dtype and kinds of values.

    needs: which of x and the values need a gradient; empty for none, not even of the states.
    """

    def __init__(
        self, neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], storage: torch.dtype, needs: tuple[bool, ...]
    ) -> None:
        self.states, self.dtype, self.needs = len(neuron.states), cpp.COMPUTE[storage], needs
        step = trace.step_graph(neuron, names, self.dtype)
        self.forward = _function(cpp.forward_source(step, self.states, channel, storage), "forward")
        if needs:
            pull = trace.pull_graph(neuron, names, self.dtype)
            self.backward = _function(cpp.backward_source(step, pull, self.states, channel, storage, needs), "backward")
        self.nowhere = (0,) * self.states
        self.forward_call = struct.Struct(f"{7 + 2 * self.states + len(names)}q").pack
        self.backward_call = struct.Struct(f"{8 + 3 * self.states + 2 * len(names)}q").pack

    def run(self, x: Tensor, steps: int, inner: int, first: Tensors | None, keep: bool, values: Sequence[Tensor]) -> tuple[Tensor, Tensors]:
        """Spikes, and with `keep` the final state. x, first and values are dense and lie in memory as the kernel walks."""
        spikes = torch.empty_like(x)
        last = tuple(self._like_state(x, steps) for _ in range(self.states)) if keep else ()
        call = self.forward_call(
            *_size(x, steps, inner), x.data_ptr(), spikes.data_ptr(),
            *self._pointers(first), *self._pointers(last), *[v.data_ptr() for v in values],
        )  # fmt: skip
        self.forward(call)
        return spikes, last

    def pull(
        self, x: Tensor, steps: int, inner: int, first: Tensors, values: Sequence[Tensor], grad: Tensor, glast: Tensors, wants_first: bool
    ) -> tuple[Tensor | None, Tensors, list[Tensor | None]]:
        """Gradients of x, of the initial state and of the values."""
        gx = torch.empty_like(x) if self.needs[0] else None
        gfirst = tuple(self._like_state(x, steps) for _ in range(self.states)) if wants_first else ()
        gvalues = [torch.empty_like(v) if need else None for v, need in zip(values, self.needs[1:], strict=True)]
        call = self.backward_call(
            *_size(x, steps, inner), x.data_ptr(), grad.data_ptr(), 0 if gx is None else gx.data_ptr(),
            *self._pointers(first), *self._pointers(glast), *self._pointers(gfirst),
            *[v.data_ptr() for v in values], *[0 if g is None else g.data_ptr() for g in gvalues],
        )  # fmt: skip
        if self.backward(call):
            raise MemoryError(f"no memory for the states of {steps} steps")
        return gx, gfirst, gvalues

    def _pointers(self, tensors: Tensors | None) -> Sequence[int]:
        return [t.data_ptr() for t in tensors] if tensors else self.nowhere

    def _like_state(self, x: Tensor, steps: int) -> Tensor:
        return torch.empty_like(x[: x.shape[0] // steps], dtype=self.dtype)


def _size(x: Tensor, steps: int, inner: int) -> tuple[int, ...]:
    return x.numel() // steps, steps, torch.get_num_threads(), inner, x.shape[1] if x.dim() > 1 else 1


class Scan(torch.autograd.Function):
    """All steps of a neuron: its spikes, then its final states (none unless `keep`). Saves x, the initial states and the values."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, steps: int, inner: int, given: bool, keep: bool, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        first = rest[: kernel.states] if given else ()
        spikes, last = kernel.run(x, steps, inner, first, keep, rest[len(first) :])
        ctx.save_for_backward(x, *rest)
        ctx.kernel, ctx.steps, ctx.inner, ctx.given = kernel, steps, inner, given
        ctx.set_materialize_grads(False)
        return (spikes, *last)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *glast: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise SpikeloomError("a fused neuron has no second derivatives; drop create_graph=True, or set SPIKELOOM_BACKEND=reference")
        kernel: Kernel = ctx.kernel
        x, *rest = ctx.saved_tensors
        first, values = (tuple(rest[: kernel.states]), rest[kernel.states :]) if ctx.given else ((), rest)
        grad = laid_out(grad, x) if grad is not None else torch.zeros_like(x)
        if any(g is not None for g in glast):
            like = x[: x.shape[0] // ctx.steps]
            zero = torch.zeros_like(like, dtype=kernel.dtype)
            glast = tuple(zero if g is None else laid_out(g, like) for g in glast)
        else:
            glast = ()
        wants_first = ctx.given and any(ctx.needs_input_grad[6 : 6 + kernel.states])
        gx, gfirst, gvalues = kernel.pull(x, ctx.steps, ctx.inner, first, values, grad, glast, wants_first)
        gstates = (gfirst or (None,) * kernel.states) if ctx.given else ()
        return None, None, None, None, None, gx, *gstates, *gvalues


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` with the strides of the dense `like`."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def in_order(x: Tensor) -> tuple[Tensor, int]:
    """x dense in its memory format, and how many neighbours in memory share a channel."""
    if not x.is_contiguous():
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        last = formats.get(x.dim(), torch.contiguous_format)
        if x.is_contiguous(memory_format=last):
            return x, 1
        if last is not torch.contiguous_format and x.stride(1) == 1:
            return x.contiguous(memory_format=last), 1
        x = x.contiguous()
    return x, math.prod(x.shape[2:])


@cache
def _function(source: str, name: str) -> Any:
    function = getattr(compiled.library(source), name)
    function.restype = ctypes.c_int
    function.argtypes = (ctypes.c_char_p,)
    return function
