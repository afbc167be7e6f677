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
from spikeloom.engine import cache, operator, reference, triton_kernel
from spikeloom.engine.kernel import Kernel, in_order, laid_out, scan
from spikeloom.engine.moments import BatchNormed
from spikeloom.engine.printer import COMPUTE
from spikeloom.engine.trace import AFFINE, CannotFuse
from spikeloom.engine.triton_kernel import TritonKernel

BACKENDS = ("auto", "reference", "cpp", "triton")
_kernels: dict[Any, Kernel | TritonKernel | str] = {}  # a text says why there is no kernel
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


def explain(neuron: Any, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> tuple[str, str]:
    """`(backend, reason)` of a call of `neuron` on input of `dtype` in this process. Compiles the forward kernel of the CPU.

    device: where the input lies; None: where the neuron's values lie.
    """
    if backend() == "reference":
        return "reference", "SPIKELOOM_BACKEND=reference"
    values = neuron.values()
    device = torch.device(device) if device is not None else next((v.device for v in values.values()), torch.device("cpu"))
    asked = backend()
    kernel = _elsewhere(device, asked)
    if kernel is None:
        kernel = _kernel(_maker(device, asked), neuron, tuple(values), tuple(v.numel() > 1 for v in values.values()), dtype, ())
    if isinstance(kernel, str):
        return "reference", kernel
    if isinstance(kernel, Kernel):
        return "cpp", f"fused by {cache.compiler()}, kept in {cache.folder()}"
    how = "interpreted" if triton_kernel.interpreted() else "fused"
    return "triton", f"{how} by Triton {triton_kernel.version()}, kept in {cache.folder()}"


def run(
    neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any, keep: bool = True, norm: Any = None,
    emits: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """Spikes `[T*B, ...]` and final state of `neuron` on input x `[T*B, ...]`.

    state: each broadcasts against `[B, ...]`; None: zero. keep: False allows `()` in place of the final state.
    norm: a norm to apply to x first, see `moments.BatchNormed`; in the kernel where there is one, else by its `normalise(x)`.
    emits: whether `emitted.of(spikes)` is wanted; it is there only where a kernel of the CPU can say it.
    Under torch.compile, torch.export, make_fx and fake tensors the CPU's kernel runs as an operator of the graph.
    The reference loop runs under functorch transforms, forward-mode AD and dispatch modes of the user, off the CPU and CUDA, and
    where parameters and x differ in precision.
    """
    if torch.compiler.is_compiling():
        return _graphed(neuron, x, steps, state, values, keep)
    asked = backend()
    result: Any = "SPIKELOOM_BACKEND=reference" if asked == "reference" else _obstacle(x, asked)
    if result is None:
        result = _fused(asked, neuron, x, steps, state, values, keep, norm, emits=emits)
    if not isinstance(result, str):
        return result
    x = x if norm is None else norm.normalise(x)
    if result is _GRAPH:
        return _graphed(neuron, x, steps, state, values, keep)
    if asked in ("cpp", "triton"):
        raise CannotFuse(f"SPIKELOOM_BACKEND={asked}: {type(neuron).__name__}: {result}")
    return _referred(neuron, x, steps, state, values)


def _referred(neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    return reference.scan(neuron, x, steps, state if state is not None else neuron._start(x, steps), values)


def _graphed(
    neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A call inside a graph: the operator, or the reference loop laid out step by step. Traced by torch.compile."""
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    asked = backend()
    if asked in ("auto", "cpp") and not transformed and x.is_cpu and x.layout is torch.strided and x.dtype in COMPUTE:
        result = _fused(asked, neuron, x, steps, state, values, keep, None, in_graph=True)
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
for _function in (backend, _say_once):
    _function._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _obstacle(x: Tensor, asked: str) -> str | None:
    """Why no kernel may touch x; None if one may."""
    if (
        torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    ):
        return "the call is being traced or transformed"
    if type(x) not in (Tensor, nn.Parameter) or torch._C._len_torch_dispatch_stack():
        return _GRAPH if _faked(x) else "the call is being traced or transformed"
    if x.layout is not torch.strided:
        return f"x is a {x.layout} tensor; kernels read dense tensors"
    if not x.is_cpu or asked == "triton":
        elsewhere = _elsewhere(x.device, asked)
        if elsewhere is not None:
            return elsewhere
    if x.dtype not in COMPUTE:
        return f"x is {x.dtype}; kernels read " + ", ".join(map(str, COMPUTE))
    return "x is empty" if x.numel() == 0 else None


def _faked(x: Tensor) -> bool:
    """x is one of torch's stand-ins for tensors, or one of the modes that trace them is on."""
    keys = torch._C._TorchDispatchModeKey
    modes = (keys.FAKE, keys.PROXY, keys.FUNCTIONAL)
    return type(x).__module__.startswith("torch._subclasses.") or any(torch._C._get_dispatch_mode(key) is not None for key in modes)


def _elsewhere(device: torch.device, asked: str) -> str | None:
    """Why no kernel runs on `device`; None if one may."""
    if device.type == "cpu":
        if asked == "triton" and not triton_kernel.interpreted():
            return "x is on the CPU, where Triton is only interpreted; set TRITON_INTERPRET=1 before the start, or unset SPIKELOOM_BACKEND"
        return None
    if device.type != "cuda":
        return f"x is on {device}; kernels run on the CPU and on CUDA"
    return f"x is on {device}; C++ kernels run on the CPU" if asked == "cpp" else None


def _maker(device: torch.device, asked: str) -> type[Kernel] | type[TritonKernel]:
    return TritonKernel if device.type == "cuda" or asked == "triton" else Kernel


def _fused(
    asked: str, neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...] | None, values: Any, keep: bool, norm: Any,
    in_graph: bool = False, emits: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]] | str:  # fmt: skip
    """Spikes and final state, or the reason why no kernel can give them."""
    dtype, device = COMPUTE[x.dtype], x.device
    given = values.given if in_graph and isinstance(values, Values) else vars(values)
    names, tensors, learned, batch = tuple(given), list(given.values()), (), None
    for k, v in enumerate(tensors):
        if v.dtype is not dtype or v.device != device:
            return f"a value is {v.dtype} on {v.device}; with x in {x.dtype} the kernel computes in {dtype} on {device}"
        if v.dim() and v.numel() > 1 and (v.dim() != x.dim() - 1 or v.numel() != x.shape[1] or v.shape[0] != x.shape[1]):
            return f"a value has shape {list(v.shape)}; kernels take one number, or one per channel"
        if not v.is_contiguous():
            tensors[k] = v.contiguous()
    x, inner = in_order(x)
    if state is not None:
        if any(s.dtype is not dtype or s.device != device for s in state):
            return f"the state is not {dtype} on {device}"
        like = x[: x.shape[0] // steps]
        state = tuple(laid_out(s.expand(like.shape), like.shape, like.stride()) for s in state)
    if norm is not None:
        learned, names = norm.learned(), names + AFFINE
        if any(t.dtype is not dtype or t.device != device for t in (norm.running_mean, *learned)):
            return f"the norm before it is not {dtype} on {device}"
        if x.dim() < 2 or norm.running_mean.numel() != x.shape[1] or x.numel() == x.shape[1]:
            return f"the norm before it takes no input of shape {list(x.shape)}"  # `normalise` says why
        if not norm.training:
            tensors += norm.affine(norm.running_mean, norm.running_var, *learned)
    differentiated = torch.is_grad_enabled() and any([t.requires_grad for t in (x, *(state or ()), *tensors, *learned)])
    channel = [v.numel() > 1 for v in tensors]
    needs = [x.requires_grad, *[v.requires_grad for v in tensors]] if differentiated else []
    if norm is not None and norm.training:
        channel += [x.shape[1] > 1] * 2
        needs += [True] * (2 if differentiated else 0)
    if in_graph:
        return operator.call(neuron, names, x, steps, state, keep, tensors, needs)
    memory = "input" if norm is not None else neuron.memory
    emits = emits and differentiated and inner == 1 and x.dtype is torch.float32
    kernel = _kernel(_maker(device, asked), neuron, names, tuple(channel), x.dtype, tuple(needs), memory, emits)
    if isinstance(kernel, str):
        return kernel
    if norm is not None and norm.training:
        batch = BatchNormed(norm, x, inner)
        tensors += batch.affine
    if differentiated:
        return scan(kernel, steps, inner, state is not None, keep, batch, x, *(state or ()), *tensors, *learned)
    return kernel.run(x, steps, inner, state, keep, tensors)


def _kernel(
    maker: type[Kernel] | type[TritonKernel], neuron: Any, names: tuple[str, ...], channel: tuple[bool, ...], dtype: torch.dtype,
    needs: tuple[bool, ...], memory: str = "input", emits: bool = False,
) -> Kernel | TritonKernel | str:  # fmt: skip
    more = (True,) if emits and maker is Kernel else ()
    key = (_structure(neuron), names, channel, dtype, needs, memory, maker, *more)
    kernel = _kernels.get(key)
    if kernel is None:
        try:
            kernel = maker(neuron, names, channel, dtype, needs, memory, *more)
        except (CannotFuse, cache.CannotCompile) as error:
            kernel = str(error)
        _kernels[key] = kernel
    if isinstance(kernel, str) and backend() == "auto":
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
