"""The rules that a network must keep before it is trained for the early conversions: checked, and rewritten where they can be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.convert import passes
from spikeloom.convert.affine import Affine
from spikeloom.convert.graph import ADD, ConversionError, Net
from spikeloom.convert.take import take
from spikeloom.convert.vocabulary import ACTIVATIONS, CONVOLUTIONS, MAX_POOLS, NORMS, WEIGHTED
from spikeloom.core import registry
from spikeloom.core.errors import ParameterError

SIZES = (32, 28, 224, 64, 8, 96, 128, 48, 299)


@dataclass(frozen=True)
class Break:
    """A layer that breaks a rule. done: `"rewritten"`, or what to do by hand. training: `"kept"` where the rewritten network computes
    the same, `"needed"` where it must be trained (again)."""

    layer: str
    rule: str
    done: str
    training: str


@dataclass(frozen=True)
class Tailored:
    """What `tailor` found, and the network rewritten: an ordinary module, in the mode of the given one, its weights where they survive."""

    breaks: list[Break]
    model: nn.Module


def tailor(model: nn.Module, rules: str, sample: Tensor | None = None) -> Tailored:
    """Check `model` against the rules of a method and rewrite what can be.

    rules: `"cao2015"`: ReLU everywhere, no biases, no batch norms, average pools. `"sengupta2019"`: the same, and a ReLU behind every
    residual sum, shortcuts that change the shape by a 1x1 convolution, a first convolution wider than 3x3 as three of 3x3.
    sample: a few inputs `[B, ...]`; without one the shape is guessed from the first layer and common sizes of images.
    The model is not changed. Raises ConversionError for what cannot be converted at all.
    """
    checks = registry.lookup("tailor rules", rules, RULES, ParameterError)
    net = take(model, _guess(model) if sample is None else sample)
    for each in (passes.NameModules(), passes.SplitShared()):
        each.run(net)
    breaks = [found for check in checks for found in list(check(net))]
    module = net.compiled().requires_grad_(True)
    return Tailored(breaks, module.train(model.training))


def _guess(model: nn.Module) -> Tensor:
    """Two inputs of a shape that the network takes."""
    first = next((m for m in model.modules() if isinstance(m, WEIGHTED)), None)
    channels: Any = getattr(first, "in_channels", None)
    shapes = [(2, channels, size, size) for size in SIZES] if channels else [(2, getattr(first, "in_features", 1))]
    probe = copy.deepcopy(model).eval()
    for shape in shapes:
        try:
            with torch.no_grad():
                probe(torch.zeros(shape))
            return torch.rand(shape, generator=torch.Generator().manual_seed(0))
        except RuntimeError:
            continue
    raise ConversionError(f"tailor: {type(model).__name__} takes none of the inputs {shapes}; give sample=, a few inputs [B, ...]")


def _averages(net: Net) -> Iterator[Break]:
    names = [str(node.target) for node, _ in net.calls(MAX_POOLS)]
    passes.AveragePools().run(net)
    yield from (Break(name, "average pools, no max pools", "rewritten", "needed") for name in names)


def _relus(net: Net) -> Iterator[Break]:
    for node, module in net.activations():
        if type(module) is not nn.ReLU:
            net.replace(node, nn.ReLU())
            yield Break(str(node.target), f"ReLU, no {type(module).__name__}", "rewritten", "needed")


def _norms(net: Net) -> Iterator[Break]:
    names = [str(node.target) for node, _ in net.calls(NORMS)]
    net.facts |= {"plain"}  # dropout may stay: folding only looks for a norm right behind a layer
    passes.FoldNorms().run(net)
    yield from (Break(name, "no batch norm", "rewritten", "kept") for name in names)


def _biases(net: Net) -> Iterator[Break]:
    for node, module in list(net.calls(WEIGHTED)):
        if module.bias is not None:
            module.bias = None
            yield Break(str(node.target), "no bias", "rewritten", "needed")


def _affines(net: Net) -> Iterator[Break]:
    for node, _ in list(net.calls((Affine,))):
        yield Break(str(node.target), "no batch norm without a layer before it", "put a convolution before it", "needed")


def _junctions(net: Net) -> Iterator[Break]:
    for node in net.nodes:
        if node.target is ADD and not all(isinstance(net.of(user), ACTIVATIONS) for user in node.users):
            net.after(node, f"{node.name}_relu", nn.ReLU())
            yield Break(node.name, "a ReLU behind the residual sum", "rewritten", "needed")


def _shortcuts(net: Net) -> Iterator[Break]:
    for node in net.nodes:
        if node.target is not ADD:
            continue
        for branch in node.all_input_nodes:
            reached = _to_activation(net, branch)
            if any(isinstance(net.of(n), nn.Module) and not isinstance(net.of(n), (*WEIGHTED, nn.Dropout)) for n in reached):
                yield Break(branch.name, "a 1x1 convolution where a shortcut changes the shape", "put one there", "needed")


def _to_activation(net: Net, node: fx.Node) -> list[fx.Node]:
    """The calls from `node` back to the activation that feeds it, without weighted branches."""
    path: list[fx.Node] = []
    while net.of(node) is not None and not isinstance(net.of(node), (*ACTIVATIONS, *WEIGHTED)):
        path.append(node)
        node = node.all_input_nodes[0]
    return [] if isinstance(net.of(node), WEIGHTED) else path


def _stem(net: Net) -> Iterator[Break]:
    node, first = next(net.calls(CONVOLUTIONS), (None, None))
    if node is None or not isinstance(first, nn.Conv2d) or max(first.kernel_size) <= 3:
        return
    layers: list[Any] = []
    last = first.in_channels
    for k in range(3):
        layers += [nn.Conv2d(last, first.out_channels, 3, first.stride if not k else 1, 1, bias=False), nn.ReLU(), nn.Dropout(0.2)]
        last = first.out_channels
    name = str(node.target)
    size = "x".join(map(str, first.kernel_size))
    node.target = net.add(name, nn.Sequential(*layers[:-2]))
    yield Break(name, f"three 3x3 convolutions in place of the first {size} one", "rewritten", "needed")


_Check = Callable[[Net], Iterator[Break]]
_CAO: tuple[_Check, ...] = (_averages, _relus, _norms, _affines, _biases)
RULES: dict[str, tuple[_Check, ...]] = {"cao2015": _CAO, "sengupta2019": (*_CAO, _junctions, _shortcuts, _stem)}
