"""A traced graph written anew: functions as modules, and refusals that name the operation, the user's layer and its place."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate, map_arg

from spikeloom.convert.graph import ADD, CAT, ConversionError, Net
from spikeloom.convert.operations import BUILDERS, Built, Unfit, plus, reshape, times
from spikeloom.convert.reasons import reason
from spikeloom.convert.sites import fit, label, operation

_SUMS = ("add", "sub", "rsub", "mul", "div", "neg")


def values(net: Net) -> dict[fx.Node, Any]:
    """What nodes give for a few inputs: shapes, on the meta device, of tensors that depend on the input; constants; None for numbers that
    depend on how many inputs there are. Notes `meta["depends"]`, `meta["shape"]`."""
    (entry,) = (node for node in net.nodes if node.op == "placeholder")
    exported = entry.meta.get("val")
    fixed = isinstance(exported, Tensor) and isinstance(exported.shape[0], int)  # an export for one size of batch
    known: dict[fx.Node, Any] = {}

    def look(node: fx.Node, value: Any) -> None:
        node.meta["depends"] = node is entry or any(source.meta["depends"] for source in node.all_input_nodes)
        if node.meta["depends"]:
            value = map_aggregate(value, lambda v: v.to("meta") if isinstance(v, Tensor) else v)
        first = known.setdefault(node, value)
        if node.meta["depends"] and not _tensors(value) and first != value:
            known[node] = None
        node.meta["shape"] = first.shape if node.meta["depends"] and isinstance(first, Tensor) else None

    for rows in [len(exported)] if fixed else [2, 3]:  # type: ignore[arg-type]
        try:
            net.watch(look, net.sample.repeat(rows, *[1] * (net.sample.dim() - 1))[:rows].clone())
        except Exception as error:
            advice = "take numbers of inputs out of forward(): x.flatten(1) in place of x.view(8, -1)"
            raise ConversionError(f"the traced graph fails on {rows} inputs: {str(error).splitlines()[0]}; {advice}") from error
    return known


def _tensors(value: Any) -> bool:
    """Is the value a tensor, or several?"""
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(_tensors(v) for v in value))


class Naming:
    """The graph to be: `take` its nodes one by one. modules: by target; made: names of the nodes that were functions."""

    def __init__(self, net: Net, known: dict[fx.Node, Any]) -> None:
        self.net, self.known = net, known
        self.graph, self.modules = fx.Graph(), dict[str, nn.Module]()
        self.made: list[str] = []
        self._new: dict[fx.Node, fx.Node] = {}
        self._names = {str(node.target) for node in net.nodes if node.op == "call_module"}
        self._places = [node for node in net.nodes if node.meta["depends"] and _tensors(known[node]) and node.op != "output"]
        self._batch = len(known[self._places[0]])

    def take(self, node: fx.Node) -> None:
        """Write one node, unless it is a constant or a size; ConversionError where nothing fits."""
        if node.op == "output":
            (result,) = node.all_input_nodes
            self.graph.output(self._new[result])
        elif node.op == "placeholder":
            self._new[node] = self.graph.placeholder(str(node.target))
        elif node in self._places:
            try:
                self._new[node] = self._layer(node) if node.op == "call_module" else self._function(node)
                value = self.known[node]
                if value.dim() < 2 or len(value) != self._batch:
                    raise Unfit(f"gives {tuple(value.shape)} for {self._batch} inputs; axis 0 must stay the batch, axis 1 the channels")
            except Unfit as why:
                raise ConversionError(f"{self._place(node)}: {why}") from None

    def _place(self, node: fx.Node) -> str:
        module, k = self.net.of(node), self._places.index(node)
        before = self._places[k - 1]
        after = f"after {label(before, self.net.of(before))!r}" if k > 1 else "the first"
        return f"{label(node, module)!r} ({operation(node, module)}, node {k} of {len(self._places) - 1}, {after})"

    def _layer(self, node: fx.Node) -> fx.Node:
        module: Any = self.net.of(node)
        fit(module, self.known[node.all_input_nodes[0]])
        if len(node.args) + len(node.kwargs) > 1:
            raise Unfit("is called with more than its input; call it with one tensor")
        self.modules[str(node.target)] = module
        return self.graph.call_module(str(node.target), (self._new[node.all_input_nodes[0]],))

    def _function(self, node: fx.Node) -> fx.Node:
        name = operation(node, None)
        if name == "cat":
            return self._cat(node)
        if name in _SUMS:
            return self._sum(node, name)
        args, kwargs = list(node.args), dict(node.kwargs)
        source: Any = args.pop(0) if args else kwargs.pop("input", kwargs.pop("self", None))
        if name == "batch_norm" and isinstance(node.target, torch._ops.OpOverload):
            name = "aten.batch_norm"
        if name not in BUILDERS or not self._dynamic(source):
            raise Unfit(reason(name))
        x, out, build = self.known[source], self.known[node], BUILDERS[name]
        if build is not reshape:  # which goes by the shapes
            args, kwargs = self._constants(args, name), self._constants(kwargs, name)
        try:
            inspect.signature(build).bind(x, out, *args, **kwargs)
            modules = build(x, out, *args, **kwargs)
        except (TypeError, ValueError, AssertionError) as error:
            raise Unfit(f"no module does this: {error}; write it with a module of torch.nn") from None
        return self._chain(node, source, modules)

    def _dynamic(self, value: Any) -> bool:
        return isinstance(value, fx.Node) and value.meta["depends"] and isinstance(self.known[value], Tensor)

    def _constants(self, values: Any, name: str) -> Any:
        """Arguments with the values of the nodes among them, which the input must not change."""

        def value(node: fx.Node) -> Any:
            if node.meta["depends"] and _tensors(self.known[node]):
                raise Unfit(f"{label(node, self.net.of(node))!r}, computed from the input, is one of its arguments; {reason('mul')}")
            if self.known[node] is None:
                raise Unfit("one of its arguments is the number of inputs; an input must get the same answer in every batch")
            return self.known[node]

        return map_arg(values, value)

    def _chain(self, node: fx.Node, source: fx.Node, modules: Built) -> fx.Node:
        """Call modules on the new node of `source`, under the name of `node`."""
        new = self._new[source]
        for module in modules:
            fit(module, self.known[source])
            name, k = label(node, None), 1
            while name in self._names:
                name, k = f"{label(node, None)}_{k}", k + 1
            self._names.add(name)
            self.modules[name] = module
            new = self.graph.call_module(name, (new,))
            self.made.append(new.name)
        return new

    def _cat(self, node: fx.Node) -> fx.Node:
        branches = node.args[0] if node.args else node.kwargs["tensors"]
        axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if not isinstance(branches, (list, tuple)) or not all(self._dynamic(branch) for branch in branches):
            raise Unfit("joins activations with constants; join activations only")
        if axis % self.known[node].dim() != 1:
            raise Unfit(f"joins along axis {axis}; must be the channels, axis 1")
        return self.graph.call_function(CAT, ([self._new[branch] for branch in branches], 1))  # type: ignore[index]

    def _sum(self, node: fx.Node, name: str) -> fx.Node:
        """a + b and its kin: of two activations, or of one and a constant."""
        options = dict(node.kwargs)
        pair: list[Any] = [*node.args, *(options.pop(key) for key in ("input", "self", "other") if key in options)][:2]
        alpha: Any = options.pop("alpha", node.args[2] if len(node.args) > 2 else 1)
        if any(option is not None for option in options.values()):
            raise Unfit(f"has the options {options}; leave them out")
        if name in ("rsub", "neg"):
            pair, name = [*pair[1:], pair[0]][-2:], "sub"
            pair = [0, *pair] if len(pair) < 2 else pair
        a, b = pair
        if self._dynamic(a) and self._dynamic(b):
            return self._total(node, a, b, name, alpha)
        x, constant = (a, b) if self._dynamic(a) else (b, a)
        return self._chain(node, x, _with_constant(self.known[x], torch.as_tensor(self._constants(constant, name)), name, alpha, x is b))

    def _total(self, node: fx.Node, a: fx.Node, b: fx.Node, name: str, alpha: float) -> fx.Node:
        left, right = self.known[a], self.known[b]
        if name not in ("add", "sub"):
            raise Unfit(reason("mul"))
        if left.dim() != right.dim() or left.shape[1] != right.shape[1]:
            raise Unfit(f"adds {tuple(left.shape)} and {tuple(right.shape)}; both must have the same channels on axis 1")
        other = self._chain(node, b, times(right, alpha if name == "add" else -alpha))
        return self.graph.call_function(ADD, (self._new[a], other))


def _with_constant(x: Tensor, constant: Tensor, name: str, alpha: float, second: bool) -> Built:
    """`x <name> constant`, or, where x is the second, `constant <name> x`."""
    if name == "mul":
        return times(x, constant)
    if name == "div":
        if second:
            raise Unfit("divides by an activation; no weight does that; replace it")
        return times(x, 1 / constant)
    sign = alpha if name == "add" else -alpha
    return (*times(x, sign), *plus(x, constant)) if second else plus(x, constant * sign)
