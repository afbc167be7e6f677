"""Chooses the backend of a call, and says why not a faster one."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from spikeloom.core.errors import SpikeloomError, refusal
from spikeloom.core.params import Values
from spikeloom.engine import cache, cpp, operator, reference
from spikeloom.engine.kernel import Kernel, Scan, in_order, laid_out
from spikeloom.engine.trace import CannotFuse, inside

BACKENDS = ("auto", "reference", "cpp")
_kernels: dict[Any, Kernel | str] = {}  # a text says why there is no kernel
_warned: set[str] = set()
_GRAPH = "the call is being traced"


class SlowBackend(UserWarning):
    """The reference loop runs where a kernel was expected."""


def backend() -> str:
    """The backend asked for by `SPIKELOOM_BACKEND` (default `auto`: the fastest that can)."""
    name = os.environ.get("SPIKELOOM_BACKEND", "auto")
    if name not in BACKENDS:
        raise SpikeloomError(refusal("SPIKELOOM_BACKEND", name, "one of " + ", ".join(BACKENDS)))
    return name


def explain(neuron: Any, dtype: torch.dtype = torch.float32) -> tuple[str, str]:
    """`(backend, reason)` of a call of `neuron` on CPU input of `dtype` in this process. Compiles the forward kernel."""
    if backend() == "reference":
        return "reference", "SPIKELOOM_BACKEND=reference"
    values = neuron.values()
    kernel = _kernel(neuron, tuple(values), tuple(v.numel() > 1 for v in values.values()), dtype, ())
    return ("reference", kernel) if isinstance(kernel, str) else ("cpp", f"fused by {cache.compiler()}, kept in {cache.folder()}")


def run(
    neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any, keep: bool = True
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Spikes `[T*B, ...]` and final state of `neuron` on input x `[T*B, ...]`.

    state: each broadcasts against `[B, ...]`; None: zero. keep: False allows `()` in place of the final state.
    Under torch.compile, torch.export, make_fx and fake tensors the same kernel runs as an operator of the graph.
    The reference loop runs under functorch transforms, forward-mode AD and dispatch modes of the user, off the CPU, and where
    parameters and x differ in precision.
    """
    if torch.compiler.is_compiling():
        return _graphed(neuron, x, steps, state, values, keep)
    asked = backend()
    result = "SPIKELOOM_BACKEND=reference" if asked == "reference" else _obstacle(x) or _fused(neuron, x, steps, state, values, keep)
    if not isinstance(result, str):
        return result
    if result is _GRAPH:
        return _graphed(neuron, x, steps, state, values, keep)
    if asked == "cpp":
        raise CannotFuse(f"SPIKELOOM_BACKEND=cpp: {type(neuron).__name__}: {result}")
    return _referred(neuron, x, steps, state, values)


def _referred(neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    return reference.scan(neuron, x, steps, state if state is not None else neuron._start(x, steps), values)


def _graphed(
    neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A call inside a graph: the operator, or the reference loop laid out step by step. Traced by torch.compile."""
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0 or inside()
    asked = backend()
    if asked != "reference" and not transformed and x.is_cpu and x.layout is torch.strided and x.dtype in cpp.COMPUTE:
        result = _fused(neuron, x, steps, state, values, keep, in_graph=True)
        if not isinstance(result, str):
            return result
        if asked == "cpp":
            raise CannotFuse(f"SPIKELOOM_BACKEND=cpp: {type(neuron).__name__}: {result}")
        _say_once(result)
    return _referred(neuron, x, steps, state, values)


def _say_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(reason, SlowBackend, stacklevel=3)


# torch.compile calls these while it traces, and takes their answers for constants
for _function in (backend, inside, _say_once):
    _function._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _obstacle(x: Tensor) -> str | None:
    """Why no kernel may touch x; None if one may."""
    if (
        torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    ):
        return "the call is being traced or transformed"
    if type(x) not in (Tensor, nn.Parameter) or torch._C._len_torch_dispatch_stack():
        return _GRAPH if _faked(x) else "the call is being traced or transformed"
    if not x.is_cpu or x.layout is not torch.strided:
        return f"x is a {x.layout} tensor on {x.device}; kernels read dense tensors on the CPU"
    if x.dtype not in cpp.COMPUTE:
        return f"x is {x.dtype}; kernels read " + ", ".join(map(str, cpp.COMPUTE))
    return "x is empty" if x.numel() == 0 else None


def _faked(x: Tensor) -> bool:
    """x is one of torch's stand-ins for tensors, or one of the modes that trace them is on."""
    keys = torch._C._TorchDispatchModeKey
    modes = (keys.FAKE, keys.PROXY, keys.FUNCTIONAL)
    return type(x).__module__.startswith("torch._subclasses.") or any(torch._C._get_dispatch_mode(key) is not None for key in modes)


def _fused(
    neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any, keep: bool, in_graph: bool = False
) -> Any:
    """Spikes and final state, or the reason why no kernel can give them."""
    dtype = cpp.COMPUTE[x.dtype]
    given = values.given if in_graph and isinstance(values, Values) else vars(values)
    tensors = list(given.values())
    for k, v in enumerate(tensors):
        if v.dtype is not dtype or not v.is_cpu:
            return f"a value is {v.dtype} on {v.device}; with x in {x.dtype} the kernel computes in {dtype} on the CPU"
        if v.dim() and v.numel() > 1 and (v.dim() != x.dim() - 1 or v.numel() != x.shape[1] or v.shape[0] != x.shape[1]):
            return f"a value has shape {list(v.shape)}; kernels take one number, or one per channel"
        if not v.is_contiguous():
            tensors[k] = v.contiguous()
    x, inner = in_order(x)
    if state is not None:
        if any(s.dtype is not dtype or not s.is_cpu for s in state):
            return f"the state is not {dtype} on the CPU"
        like = x[: x.shape[0] // steps]
        state = tuple(laid_out(s.expand(like.shape), like) for s in state)
    inputs = (x, *(state or ()), *tensors)
    differentiated = torch.is_grad_enabled() and any([t.requires_grad for t in inputs])
    needs = (x.requires_grad, *[v.requires_grad for v in tensors]) if differentiated else ()
    if in_graph:
        return operator.call(neuron, tuple(given), x, steps, state, keep, tensors, needs)
    kernel = _kernel(neuron, tuple(given), tuple([v.numel() > 1 for v in tensors]), x.dtype, needs)
    if isinstance(kernel, str):
        return kernel
    if differentiated:
        spikes, *last = Scan.apply(kernel, steps, inner, state is not None, keep, *inputs)
        return spikes, tuple(last)
    return kernel.run(x, steps, inner, state, keep, tensors)


def _kernel(neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], dtype: torch.dtype, needs: tuple[bool, ...]) -> Kernel | str:
    key = (_structure(neuron), names, channel, dtype, needs)
    kernel = _kernels.get(key)
    if kernel is None:
        try:
            kernel = Kernel(neuron, names, channel, dtype, needs)
        except (CannotFuse, cache.CannotCompile) as error:
            kernel = str(error)
        _kernels[key] = kernel
    if isinstance(kernel, str) and backend() != "cpp":
        _say_once(kernel)
    return kernel


def _structure(neuron: Any) -> tuple[Any, ...]:
    """A key of all that `step` may depend on beside its arguments: the class and its public attributes, one level deep."""
    key: list[Any] = [type(neuron)]
    for name, value in vars(neuron).items():
        if name[0] == "_":
            continue
        if hasattr(value, "__dict__"):
            key.append(type(value))
            key.extend(vars(value).values())
        else:
            key.append(value)
    try:
        hash(structure := tuple(key))
    except TypeError:
        return tuple(map(repr, key))
    return structure
