"""A user's trained network taken into a graph: a copy in evaluation mode, traced by torch.fx or, where that cannot, by torch.export."""

from __future__ import annotations

import contextlib
import copy
import inspect
import operator
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from spikeloom.convert.graph import ConversionError, Net
from spikeloom.convert.vocabulary import ALL

_TORCH = ("torch.nn.", "torch.ao.nn.")


def take(model: nn.Module, sample: Tensor) -> Net:
    """The network as a graph of its own layers, with its function; the model is not changed.

    sample: a few inputs `[B, ...]`. ConversionError where the model fails on it, gives no tensor `[B, ...]`, or cannot be traced.
    """
    if not isinstance(sample, Tensor) or sample.dim() < 2 or not len(sample) or not sample.is_floating_point():
        given = f"{tuple(sample.shape)} of {sample.dtype}" if isinstance(sample, Tensor) else type(sample).__name__
        raise ConversionError(f"sample: got {given}; must be a floating-point tensor of a few inputs [B, ...]")
    with _quiet():
        if isinstance(model, fx.GraphModule) and _is_traced(model):
            return Net(copy.deepcopy(_plain(model)).eval().requires_grad_(False), sample)
        own, pair = _copy(model), _pair(sample)
        answer, reasons = _answer(own, pair), []
        _bare(own)
        for kind, trace in (("torch.fx", _symbolic), ("torch.export", _exported)):
            try:
                module = trace(own, pair)
                if not _close(module(pair.clone()), answer):
                    raise ConversionError("the traced graph gives another output than the network")
                return Net(module, sample)
            except Exception as error:
                reasons.append(f"{kind}: {_first_line(error)}")
    advice = "take data-dependent control flow and random or in-place operations out of forward(), or convert the part without them"
    raise ConversionError(f"{type(model).__name__}: cannot be traced; {'; '.join(reasons)}; {advice}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _is_traced(model: fx.GraphModule) -> bool:
    """Is all that the graph calls a function or a layer of torch's?"""
    layers = [model.get_submodule(str(node.target)) for node in model.graph.nodes if node.op == "call_module" and node.name != "_guards_fn"]
    return all(_Tracer().is_leaf_module(layer, "") for layer in layers)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).eval().requires_grad_(False)
    except Exception as error:
        advice = "take off old-style weight norms (torch.nn.utils.remove_weight_norm) and whatever else copy.deepcopy refuses"
        raise ConversionError(f"{type(model).__name__}: cannot be copied: {_first_line(error)}; {advice}") from error


def _bare(own: nn.Module) -> None:
    """Weights that are computed from others become plain ones; hooks go."""
    for module in list(own.modules()):
        if parametrize.is_parametrized(module):
            values = {name: getattr(module, name) for name in module.parametrizations}  # type: ignore[union-attr,operator]
            del module.parametrizations
            module.__class__ = type(module).__mro__[1]  # remove_parametrizations would change the class, which the user's layer shares
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))
        for hook in list(module._forward_pre_hooks.values()):
            if hasattr(hook, "compute_weight"):  # weight_norm, spectral_norm
                hook.remove(module)
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()


def _pair(sample: Tensor) -> Tensor:
    """Two different inputs."""
    return torch.cat([sample[:1], sample[1:2] if len(sample) > 1 else sample[:1] / 2])


def _answer(own: nn.Module, pair: Tensor) -> Tensor:
    """What the model gives for two inputs: one row for each, whatever the other."""
    kind = type(own).__name__
    try:
        twice, both = own(pair[[0, 0]]), own(pair.clone())
    except Exception as error:
        raise ConversionError(f"{kind}: fails on inputs {tuple(pair.shape)} of {pair.dtype}: {_first_line(error)}") from error
    if not isinstance(both, Tensor):
        raise ConversionError(f"{kind}: gives {type(both).__name__}; must be one tensor [B, ...]; wrap it so that it gives its answer only")
    if not both.dim() or len(both) != 2:
        raise ConversionError(f"{kind}: 2 inputs give {tuple(both.shape)}; axis 0 must be the batch")
    if not _close(twice[:1], both[:1]):
        raise ConversionError(f"{kind}: an input gets another answer in another batch; a layer mixes the batch or draws random numbers")
    return both


def _close(a: Tensor, b: Tensor) -> bool:
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * max(float(b.abs().max()), 1e-30))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or type(m) in ALL


def _symbolic(own: nn.Module, pair: Tensor) -> fx.GraphModule:
    optional = {
        p.name: p.default for p in list(inspect.signature(own.forward).parameters.values())[1:] if p.default is not inspect.Parameter.empty
    }
    if type(own).__module__.startswith(_TORCH) and not isinstance(own, nn.Sequential):
        own = nn.Sequential(own)  # a single layer of torch's is a leaf as well
    graph = _Tracer().trace(own, concrete_args=optional or None)
    return _plain(fx.GraphModule(own, graph))


def _exported(own: nn.Module, pair: Tensor) -> fx.GraphModule:
    program = torch.export.export(own, (pair,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    return copy.deepcopy(_plain(program.module()))  # type: ignore[arg-type]


def _plain(module: fx.GraphModule) -> fx.GraphModule:
    """One input, one output, without the checks that torch.export puts before them."""
    graph = fx.Graph()
    graph.output(_single(graph.graph_copy(module.graph, {})))
    for node in reversed(list(graph.nodes)):
        check = node.name == "_guards_fn" or node.target is operator.eq or "_assert" in str(node.target)
        if not node.users and (check or node.op == "placeholder"):
            graph.erase_node(node)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise ConversionError(f"{len(inputs)} inputs; must be one tensor [B, ...]; wrap the network so that it takes its input only")
    return fx.GraphModule(module, graph, type(module).__name__)


def _single(value: Any) -> fx.Node:
    found = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, fx.Node)]
    if len(found) != 1:
        raise ConversionError(f"{len(found)} outputs; must be one tensor [B, ...]; wrap the network so that it gives its answer only")
    return found[0]
