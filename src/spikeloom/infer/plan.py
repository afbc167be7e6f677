"""From a network's graph to the stages of a Runner: a neuron takes up the layers and sums that only it reads."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.convert.affine import Affine
from spikeloom.convert.vocabulary import DROPOUTS
from spikeloom.infer.gate import Gate
from spikeloom.infer.stages import Cat, Current, Flat, Layer, Plain, Pool, Stage
from spikeloom.infer.terms import Term
from spikeloom.neurons import Neuron
from spikeloom.nn.fuse import _affine
from spikeloom.nn.pool import SpikingMaxPool2d

NOTHING = DROPOUTS  # with nn.Identity, in evaluation mode
SUMS = {operator.add, operator.iadd, torch.add}
Terms = list[tuple[str, Term]]


def stages(net: nn.Module, graph: fx.Graph) -> tuple[dict[str, Stage], str]:
    """The stages by name, in order, and the name of the one whose value is the output. The input's name is "".

    Raises CannotFuse for a call that no stage makes: of a function other than a sum, a concatenation, a mean over maps or a flattening.
    """
    return _Planner(net, graph).run()


class Refused(Exception):
    """Why a graph has no stages."""


class _Planner:
    def __init__(self, net: nn.Module, graph: fx.Graph) -> None:
        self.modules, self.graph = dict(net.named_modules()), graph
        self.found: dict[str, Stage] = {}
        self.names: dict[fx.Node, str] = {}  # where the value of a node is

    def run(self) -> tuple[dict[str, Stage], str]:
        inputs = [node for node in self.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise Refused(f"the network has {len(inputs)} inputs")
        self.names[inputs[0]] = ""
        out = next(iter(self.graph.find_nodes(op="output"))).args[0]
        if not isinstance(out, fx.Node):
            raise Refused("the network returns more than one tensor")
        return self.found, self.value(out)

    def value(self, node: fx.Node) -> str:
        """The name of the stage that gives a node's value, made where it is not there yet."""
        if node not in self.names and isinstance(self.module(node), NOTHING):
            self.names[node] = self.value(node.args[0])  # type: ignore[arg-type]
        if node not in self.names:
            stage = self._stage(node)
            name = str(node.target) if node.op == "call_module" else node.name
            while name in self.found:  # a module that is called twice
                name += "'"
            self.found[name] = stage
            self.names[node] = name
        return self.names[node]

    def _stage(self, node: fx.Node) -> Stage:
        module = self.module(node)
        if isinstance(module, Neuron):
            terms = self.terms(node.args[0])  # type: ignore[arg-type]
            return Layer(tuple(name for name, _ in terms), [term for _, term in terms], module)
        if self._adds(node):
            terms = self.terms(node, own=True)
            return Current(tuple(name for name, _ in terms), [term for _, term in terms])
        if (end := _flattens(node, module)) is not None:
            return Flat((self.value(node.args[0]),), end)  # type: ignore[arg-type]
        if node.target in (torch.mean, "mean") and _over_maps(node):
            self.found[f"{node.name}.maps"] = Pool((self.value(node.args[0]),), "adaptive", 1)  # type: ignore[arg-type]
            return Flat((f"{node.name}.maps",))
        if node.target is torch.cat and _joins(node):
            return Cat(tuple(self.value(each) for each in node.args[0]))  # type: ignore[union-attr,arg-type]
        if module is None:
            raise Refused(f"{node.name} is a call of {getattr(node.target, '__name__', node.target)}")
        if len(node.args) != len(node.all_input_nodes) or node.kwargs:
            raise Refused(f"{node.name} takes more than tensors")
        inputs = tuple(self.value(each) for each in node.all_input_nodes)
        if type(module) is SpikingMaxPool2d:
            return Gate(inputs, module)
        return _pool(inputs, module) or Plain(inputs, module)

    def terms(self, node: fx.Node, own: bool = False) -> Terms:
        """What sums to a node's value. own: of the stage that is being made, so that it does not matter who else reads it."""
        while isinstance(self.module(node), NOTHING) and len(node.users) == 1 and node not in self.names:
            node = node.args[0]  # type: ignore[assignment]
        module = self.module(node)
        if self._adds(node) and (own or (len(node.users) == 1 and node not in self.names)):
            if module is None:
                return [term for each in node.args for term in self.terms(each)]  # type: ignore[arg-type]
            source = node.args[0]
            if _affine(module) is not None:
                return self._normed(node, source)  # type: ignore[arg-type]
            return [(self.value(source), _term(module))]  # type: ignore[arg-type]
        return [(self.value(node), Term(None, None))]

    def _normed(self, node: fx.Node, source: fx.Node) -> Terms:
        """A norm in evaluation mode: part of the layer before it where only it reads that."""
        norm = _affine(self.module(node))  # type: ignore[arg-type]
        scale, shift = norm.affine(norm.running_mean, norm.running_var, *norm.learned())  # type: ignore[union-attr]
        layer = self.module(source)
        if type(layer) in (nn.Conv2d, nn.Linear) and self._adds(source) and len(source.users) == 1:
            return [(self.value(source.args[0]), _term(layer, scale, shift))]  # type: ignore[arg-type]
        return [(self.value(source), Term(None, shift, (), scale))]

    def _adds(self, node: fx.Node) -> bool:
        """Whether a node is a sum of terms: a layer, a factor, a norm, or a sum of nodes."""
        module = self.module(node)
        if module is None:
            both = len(node.args) == 2 and all(isinstance(a, fx.Node) for a in node.args)
            return both and (node.target in SUMS or node.target == "add") and not node.kwargs
        if type(module) is nn.Conv2d:
            return module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if type(module) in (nn.Linear, Affine):
            return True
        norm = _affine(module)
        return norm is not None and not module.training

    def module(self, node: fx.Node) -> Any:
        """The module that a node calls, or None."""
        return self.modules[node.target] if node.op == "call_module" else None


def _term(module: Any, scale: Tensor | None = None, shift: Tensor | None = None) -> Term:
    if isinstance(module, Affine):
        return Term(None, module.shift, (), module.scale)
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    if scale is not None and shift is not None:
        weight = weight * scale.detach().view(-1, *[1] * (weight.dim() - 1))
        bias = shift.detach() if bias is None else bias * scale.detach() + shift.detach()
    return Term(weight, bias, (module.stride, module.padding, module.dilation, module.groups) if weight.dim() == 4 else ())


def _flattens(node: fx.Node, module: Any) -> int | None:
    """The last axis of a flattening from axis 1 on; None for anything else."""
    if isinstance(module, nn.Flatten):
        return module.end_dim if module.start_dim == 1 else None
    return -1 if node.target in (torch.flatten, "flatten") and node.args[1:] == (1,) and not node.kwargs else None


def _over_maps(node: fx.Node) -> bool:
    """Whether a mean is one over the last two of four axes."""
    axes = [*node.args[1:], *(v for k, v in node.kwargs.items() if k == "dim")]
    lists = len(axes) == 1 and isinstance(axes[0], list | tuple) and set(node.kwargs) <= {"dim"}
    return lists and sorted(a % 4 for a in axes[0] if isinstance(a, int)) == [2, 3]  # type: ignore[union-attr]


def _joins(node: fx.Node) -> bool:
    """Whether a concatenation is one of nodes along the channels."""
    axis = [*node.args[1:], *node.kwargs.values()]
    return axis == [1] and isinstance(node.args[0], list | tuple) and all(isinstance(each, fx.Node) for each in node.args[0])


def _pool(inputs: tuple[str, ...], module: Any) -> Pool | None:
    kind = type(module)
    plain = kind in (nn.AvgPool2d, nn.MaxPool2d) and not module.ceil_mode
    if plain and kind is nn.AvgPool2d and module.divisor_override is None and (module.count_include_pad or not module.padding):
        return Pool(inputs, "average", module.kernel_size, module.stride, module.padding)
    if plain and kind is nn.MaxPool2d and module.dilation == 1 and not module.return_indices:
        return Pool(inputs, "max", module.kernel_size, module.stride, module.padding)
    return Pool(inputs, "adaptive", module.output_size) if kind is nn.AdaptiveAvgPool2d else None
