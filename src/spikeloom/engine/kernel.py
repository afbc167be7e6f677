"""The compiled scan as one autograd function."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp, trace
from spikeloom.engine.moments import BatchNormed
from spikeloom.engine.printer import COMPUTE
from spikeloom.engine.window import Window

Tensors = tuple[Tensor, ...]


class Kernel:
    """Compiled scans of one `step`: of one neuron class, its options, dtype and kinds of values.

    needs: which of x and the values need a gradient; empty for none, not even of the states.
    memory: what is kept for the backward, `"input"` or `"packed"`.
    window: whether the forward shall also write where the surrogate's window is open; it does where `opens`.
    """

    def __init__(
        self, neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], storage: torch.dtype, needs: tuple[bool, ...], memory: str,
        window: bool = False,
    ) -> None:  # fmt: skip
        self.states, self.dtype, self.needs = len(neuron.states), COMPUTE[storage], needs
        step = trace.step_graph(neuron, names, self.dtype)
        pull, bits, opened = None, [], []
        if needs:
            pull = back = trace.pull_graph(neuron, names, self.dtype)
            if memory == "packed":
                bits = trace.bits(pull, self.states, (needs[0], *(True,) * self.states, *needs[1:]))
            elif window:
                pull, opened = _opened(pull, self.states, needs)
            self.backward = compiled.function(cpp.backward_source(step, back, self.states, channel, storage, needs, bits), "backward")
        text = cpp.forward_source(step, self.states, channel, storage, pull, bits or opened, float(len(opened)))
        self.forward = compiled.function(text, "forward")
        self.bits, self.opens = len(bits), len(opened) > 0
        self.nowhere = (0,) * self.states
        self.forward_call = struct.Struct(f"{8 + 2 * self.states + len(names)}q").pack
        self.backward_call = struct.Struct(f"{8 + 3 * self.states + 2 * len(names)}q").pack

    def run(
        self, x: Tensor, steps: int, inner: int, first: Tensors | None, keep: bool, values: Sequence[Tensor], bits: Tensor | None = None
    ) -> tuple[Tensor, Tensors]:
        """Spikes, and with `keep` the final state. x, first and values are dense and lie in memory as the kernel walks."""
        spikes = torch.empty_like(x)
        last = tuple(self._like_state(x, steps) for _ in range(self.states)) if keep else ()
        call = self.forward_call(
            *_size(x, steps, inner), x.data_ptr(), spikes.data_ptr(),
            *self._pointers(first), *self._pointers(last), *[v.data_ptr() for v in values], 0 if bits is None else bits.data_ptr(),
        )  # fmt: skip
        self.forward(call)
        return spikes, last

    def room(self, x: Tensor, steps: int) -> Tensor:
        """Where the forward leaves its bits: `[T, tiles of 512 neurons, bits, 64]` bytes."""
        return torch.empty(steps, -(-x.numel() // steps // 512), self.bits or 1, 64, dtype=torch.uint8)

    def pull(
        self, kept: Tensor, grad: Tensor, steps: int, inner: int, first: Tensors, values: Sequence[Tensor], glast: Tensors, wanted: bool
    ) -> tuple[Tensor | None, Tensors, list[Tensor | None]]:
        """Gradients of x, of the initial state (if `wanted`) and of the values. kept: x, or what the forward left in `room`.

        grad has x's dtype and lies in memory as x.
        """
        gx = torch.empty_like(grad) if self.needs[0] else None
        gfirst = tuple(self._like_state(grad, steps) for _ in range(self.states)) if wanted else ()
        gvalues = [torch.empty_like(v) if need else None for v, need in zip(values, self.needs[1:], strict=True)]
        call = self.backward_call(
            *_size(grad, steps, inner), kept.data_ptr(), grad.data_ptr(), 0 if gx is None else gx.data_ptr(),
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


def _opened(pull: fx.Graph, states: int, needs: tuple[bool, ...]) -> tuple[fx.Graph, list[fx.Node]]:
    """The graph and the node that say where the window is open; no node where that is not known."""
    try:
        graph = trace.open_graph(pull, states, (needs[0], *(True,) * states, *needs[1:]))
    except trace.CannotFuse:
        return pull, []
    return graph, [node for node in trace.results(graph) if isinstance(node, fx.Node)]


def _size(x: Tensor, steps: int, inner: int) -> tuple[int, ...]:
    return x.numel() // steps, steps, torch.get_num_threads(), inner, x.shape[1] if x.dim() > 1 else 1


class Scan(torch.autograd.Function):
    """All steps of a neuron: its spikes, then its final states (none unless `keep`).

    Saves x (or a few bits of each neuron and step), the initial states and the values. With a `norm` in front of the neuron the
    last two values are its scale and shift, which depend on x; the tensors after them are the norm's parameters.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, steps: int, inner: int, given: bool, keep: bool, norm: BatchNormed | None, x: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        first = rest[: kernel.states] if given else ()
        values = rest[len(first) : len(first) + len(kernel.needs) - 1]
        room = kernel.room(x, steps) if kernel.bits or kernel.opens else None
        bits = room if kernel.bits else None
        ctx.window = Window(room, x.shape) if room is not None and kernel.opens else None
        spikes, last = kernel.run(x, steps, inner, first, keep, values, room)
        ctx.save_for_backward(x if bits is None else bits, *first, *values)
        ctx.kernel, ctx.steps, ctx.inner, ctx.first, ctx.norm = kernel, steps, inner, len(first), norm
        ctx.shape, ctx.stride, ctx.dtype = x.shape, x.stride(), x.dtype
        ctx.set_materialize_grads(False)
        return (spikes, *last)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *glast: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise SpikeloomError("a fused neuron has no second derivatives; drop create_graph=True, or set SPIKELOOM_BACKEND=reference")
        kernel: Kernel = ctx.kernel
        kept, *rest = ctx.saved_tensors
        first, values = tuple(rest[: ctx.first]), rest[ctx.first :]
        if grad is None:
            grad = torch.zeros((), dtype=ctx.dtype, device=kept.device).expand(ctx.shape)
        grad = laid_out(grad, ctx.shape, ctx.stride)
        if any(g is not None for g in glast):
            like = grad[: grad.shape[0] // ctx.steps]
            zero = torch.zeros_like(like, dtype=kernel.dtype)
            glast = tuple(zero if g is None else laid_out(g, like.shape, like.stride()) for g in glast)
        else:
            glast = ()
        wants_first = ctx.first > 0 and any(ctx.needs_input_grad[7 : 7 + ctx.first])
        gx, gfirst, gvalues = kernel.pull(kept, grad, ctx.steps, ctx.inner, first, values, glast, wants_first)
        if ctx.norm is not None:
            gvalues[-2:] = [None, None, *ctx.norm.pull(kept, gx, ctx.inner, gvalues[-2], gvalues[-1])]
        gstates = gfirst or (None,) * ctx.first
        return None, None, None, None, None, None, gx, *gstates, *gvalues


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


def laid_out(tensor: Tensor, shape: Sequence[int], stride: Sequence[int]) -> Tensor:
    """`tensor` with these dense strides."""
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(shape, stride, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
