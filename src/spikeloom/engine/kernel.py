"""The compiled scan as one autograd function."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp, emitted, trace
from spikeloom.engine.moments import BatchNormed
from spikeloom.engine.printer import COMPUTE

Tensors = tuple[Tensor, ...]


class Kernel:
    """Compiled scans of one `step`: of one neuron class, its options, dtype and kinds of values.

    needs: which of x and the values need a gradient; empty for none, not even of the states.
    memory: what is kept for the backward, `"input"` or `"packed"`.
    emits: whether the forward shall also write spikes as bits and where the surrogate's window is open. It writes `planes` of the spikes,
        none where `step` does not show that they are whole numbers, and the window where `opens`.
    """

    def __init__(
        self, neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], storage: torch.dtype, needs: tuple[bool, ...], memory: str,
        emits: bool = False,
    ) -> None:  # fmt: skip
        self.states, self.dtype, self.needs = len(neuron.states), COMPUTE[storage], needs
        step = trace.step_graph(neuron, names, self.dtype)
        pull, opened, bits = None, None, []
        if needs:
            pull, wanted = trace.pull_graph(neuron, names, self.dtype), (needs[0], *(True,) * self.states, *needs[1:])
            if memory == "packed":
                bits = trace.bits(pull, self.states, wanted)
            if emits and math.isfinite(neuron.surrogate.half_support):
                opened = trace.open_graph(pull, self.states, wanted)
            self.backward = compiled.function(cpp.backward_source(step, pull, self.states, channel, storage, needs, bits), "backward")
        self.planes, self.opens = trace.largest(step).bit_length() if emits else 0, opened is not None
        text = cpp.forward_source(step, self.states, channel, storage, pull, bits, self.planes, opened)
        self.forward = compiled.function(text, "forward")
        self.bits, self.emits = len(bits), self.planes + self.opens
        self.nowhere = (0,) * self.states
        self.forward_call = struct.Struct(f"{9 + 2 * self.states + len(names)}q").pack
        self.backward_call = struct.Struct(f"{8 + 3 * self.states + 2 * len(names)}q").pack

    def run(
        self, x: Tensor, steps: int, inner: int, first: Tensors | None, keep: bool, values: Sequence[Tensor], bits: Tensor | None = None,
        words: Tensor | None = None,
    ) -> tuple[Tensor, Tensors]:  # fmt: skip
        """Spikes, and with `keep` the final state. x, first and values are dense and lie in memory as the kernel walks. bits, words: rooms
        for what it keeps for its backward, and for what it emits."""
        spikes = torch.empty_like(x)
        last = tuple(self._like_state(x, steps) for _ in range(self.states)) if keep else ()
        call = self.forward_call(
            *_size(x, steps, inner), x.data_ptr(), spikes.data_ptr(),
            *self._pointers(first), *self._pointers(last), *[v.data_ptr() for v in values],
            *[0 if room is None else room.data_ptr() for room in (bits, words)],
        )  # fmt: skip
        self.forward(call)
        return spikes, last

    def room(self, x: Tensor, steps: int) -> Tensor:
        """Where the forward leaves its bits: `[T, tiles of 512 neurons, bits, 64]` bytes."""
        return torch.empty(steps, -(-x.numel() // steps // 512), self.bits, 64, dtype=torch.uint8)

    def words(self, x: Tensor, steps: int) -> Tensor:
        """Where the forward leaves what it emits, see `emitted.read`."""
        return torch.empty(self.emits, steps, -(-x.numel() // steps // 64), dtype=torch.int64)

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


def _size(x: Tensor, steps: int, inner: int) -> tuple[int, ...]:
    return x.numel() // steps, steps, torch.get_num_threads(), inner, x.shape[1] if x.dim() > 1 else 1


class Scan(torch.autograd.Function):
    """All steps of a neuron: its spikes, then its final states (none unless `keep`).

    Saves x (or a few bits of each neuron and step), the initial states and the values. With a `norm` in front of the neuron the
    last two values are its scale and shift, which depend on x; the tensors after them are the norm's parameters.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, steps: int, inner: int, given: bool, keep: bool, norm: BatchNormed | None, words: Tensor | None,
        x: Tensor, *rest: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        first = rest[: kernel.states] if given else ()
        values = rest[len(first) : len(first) + len(kernel.needs) - 1]
        bits = kernel.room(x, steps) if kernel.bits else None
        spikes, last = kernel.run(x, steps, inner, first, keep, values, bits, words)
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
        wants_first = ctx.first > 0 and any(ctx.needs_input_grad[8 : 8 + ctx.first])
        gx, gfirst, gvalues = kernel.pull(kept, grad, ctx.steps, ctx.inner, first, values, glast, wants_first)
        if ctx.norm is not None:
            gvalues[-2:] = [None, None, *ctx.norm.pull(kept, gx, ctx.inner, gvalues[-2], gvalues[-1])]
        gstates = gfirst or (None,) * ctx.first
        return None, None, None, None, None, None, None, gx, *gstates, *gvalues


def scan(
    kernel: Kernel, steps: int, inner: int, given: bool, keep: bool, norm: BatchNormed | None, x: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensors]:
    """`Scan`, its spikes known to `emitted.of` where the kernel emits them."""
    words = kernel.words(x, steps) if kernel.emits else None
    spikes, *last = Scan.apply(kernel, steps, inner, given, keep, norm, words, x, *rest)  # type: ignore[misc]
    if words is not None:
        emitted.put(spikes, *emitted.read(words, kernel.planes, x.shape))
    return spikes, tuple(last)


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
