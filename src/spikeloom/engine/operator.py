"""The compiled scan as two operators, for graphs: torch.compile, torch.export, make_fx, fake tensors.

A graph cannot hold a neuron. It holds a text that names the neuron's equations, written when the call is traced and read when the
operator runs, in this process or in one that loads the graph; the parameters' values are tensors like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine.cache import CannotCompile
from spikeloom.engine.kernel import Kernel, in_order, laid_out
from spikeloom.engine.printer import COMPUTE
from spikeloom.engine.trace import CannotFuse

Facts = tuple[Any, ...]


class Language:
    """How neurons are named in graphs; the package of the neurons hands it over when it is imported.

    facts: all that a neuron's `step` depends on beside its arguments, as constants; torch.compile traces it and guards what it reads.
    text: facts and names of values as one text that starts with `{`; raises CannotFuse where a text cannot say it.
    equations: the text's neuron, good for `step` alone, and the names of its values.
    """

    facts: Callable[[Any], Facts]
    text: Callable[[Facts, tuple[str, ...]], str]
    equations: Callable[[str], tuple[Any, tuple[str, ...]]]


def call(
    neuron: Any, names: tuple[str, ...], x: Tensor, steps: int, state: Sequence[Tensor] | None, keep: bool, values: list[Tensor], needs: Any
) -> tuple[Tensor, tuple[Tensor, ...]] | str:
    """Spikes and final state by the operator, or the reason why there is none. Traced by torch.compile."""
    plan = _plan(Language.facts(neuron), names, tuple([v.numel() > 1 for v in values]), x.dtype, tuple(needs))
    if plan[0] != "{":
        return plan
    kept = len(neuron.states) if keep else 0
    spikes, *last = torch.ops.spikeloom.scan(x, list(state or ()), values, steps, kept, plan)
    return spikes, tuple(last)


def _plan(facts: Facts, names: tuple[str, ...], channel: tuple[bool, ...], dtype: torch.dtype, needs: tuple[bool, ...]) -> str:
    """The text for the graph once its kernels are there, else the reason why they are not."""
    try:
        text = Language.text(facts, names)
        _kernel(text, tuple(map(bool, channel)), dtype, needs)
    except (CannotFuse, CannotCompile) as error:
        if isinstance(error.__cause__, AttributeError):
            return f"{error}; in a graph step may read what is declared (Param, Choice, Count) and what has a default in the class"
        return str(error)
    return text


# torch.compile calls it while it traces and puts its answer into the graph (torch.compiler.assume_constant_result, without its import)
_plan._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _kernel(text: str, channel: tuple[bool, ...], dtype: torch.dtype, needs: tuple[bool, ...]) -> Kernel:
    """needs: which of x and the values need a gradient; empty: no backward."""
    neuron, names = Language.equations(text)
    return Kernel(neuron, names, channel, dtype, needs, "input")


def _channel(values: Sequence[Tensor]) -> tuple[bool, ...]:
    return tuple(v.numel() > 1 for v in values)


@torch.library.custom_op(
    "spikeloom::scan", mutates_args=(), device_types="cpu",
    schema="(Tensor x, Tensor[] first, Tensor[] values, int steps, int states, str neuron) -> Tensor[]",
)  # fmt: skip
def scan(x: Tensor, first: list[Tensor], values: list[Tensor], steps: int, states: int, neuron: str) -> list[Tensor]:
    """Spikes, and the final states if `states` of them are asked for (all or none). first: empty for zero."""
    kernel = _kernel(neuron, _channel(values), x.dtype, ())
    x, inner = in_order(x)
    if not x.numel():
        return _scan_fake(x, first, values, steps, states, neuron)
    like = x[: x.shape[0] // steps]
    start = tuple(laid_out(s, like.shape, like.stride()) for s in first)
    spikes, last = kernel.run(x, steps, inner, start, states > 0, [v.contiguous() for v in values])
    return [spikes, *last]


@scan.register_fake
def _scan_fake(x: Tensor, first: list[Tensor], values: list[Tensor], steps: int, states: int, neuron: str) -> list[Tensor]:
    x, _ = in_order(x)
    like = x[: x.shape[0] // steps]
    return [torch.empty_like(x), *(torch.empty_like(like, dtype=COMPUTE[x.dtype]) for _ in range(states))]


@torch.library.custom_op(
    "spikeloom::scan_backward", mutates_args=(), device_types="cpu",
    schema=(
        "(Tensor x, Tensor[] first, Tensor[] values, Tensor grad, Tensor[] last_grads, int steps, str neuron, bool[] needs) -> Tensor[]"
    ),
)  # fmt: skip
def scan_backward(
    x: Tensor, first: list[Tensor], values: list[Tensor], grad: Tensor, last_grads: list[Tensor], steps: int, neuron: str, needs: list[bool]
) -> list[Tensor]:
    """Gradients of those of x, first and values that need one, in this order. last_grads: empty for zero."""
    wants_first = needs[1 : 1 + len(first)]
    kernel = _kernel(neuron, _channel(values), x.dtype, (needs[0], *needs[1 + len(first) :]))
    x, inner = in_order(x)
    if not x.numel():
        return [g.zero_() for g in _backward_fake(x, first, values, grad, last_grads, steps, neuron, needs)]
    like = x[: x.shape[0] // steps]
    start, last = (tuple(laid_out(s, like.shape, like.stride()) for s in states) for states in (first, last_grads))
    grad = laid_out(grad, x.shape, x.stride())
    gx, gfirst, gvalues = kernel.pull(x, grad, steps, inner, start, [v.contiguous() for v in values], last, any(wants_first))
    kept = [g for g, wanted in zip(gfirst, wants_first, strict=True) if wanted] if gfirst else []
    return [g for g in (gx, *kept, *gvalues) if g is not None]


@scan_backward.register_fake
def _backward_fake(
    x: Tensor, first: list[Tensor], values: list[Tensor], grad: Tensor, last_grads: list[Tensor], steps: int, neuron: str, needs: list[bool]
) -> list[Tensor]:
    x, _ = in_order(x)
    like = x[: x.shape[0] // steps]
    whole = (x, *(torch.empty_like(like, dtype=COMPUTE[x.dtype]) for _ in first), *(v.contiguous() for v in values))
    return [torch.empty_like(t) for t, need in zip(whole, needs, strict=True) if need]


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, first, values, ctx.steps, ctx.states, ctx.neuron = inputs
    ctx.given = len(first)
    ctx.save_for_backward(x, *first, *values)
    ctx.set_materialize_grads(False)


def _pull(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    first, values = rest[: ctx.given], rest[ctx.given :]
    grad, *last = grads
    if any(g is not None for g in last):
        like = x[: x.shape[0] // ctx.steps]
        last = [torch.zeros_like(like, dtype=COMPUTE[x.dtype]) if g is None else g for g in last]
    else:
        last = []
    need_x, need_first, need_values, *_ = ctx.needs_input_grad
    needs = [need_x, *need_first, *need_values]
    if grad is None:
        grad = torch.zeros_like(x)
    found = iter(torch.ops.spikeloom.scan_backward(x, first, values, grad, last, ctx.steps, ctx.neuron, needs))
    gx, *grest = [next(found) if need else None for need in needs]
    return gx, grest[: ctx.given], grest[ctx.given :], None, None, None


scan.register_autograd(_pull, setup_context=_save)
