from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call

from spikeloom.convert.graph import Net
from spikeloom.convert.normalisers.base import Case, Normaliser
from spikeloom.convert.statistics import finite
from spikeloom.convert.upstream import fires, sources
from spikeloom.convert.vocabulary import WEIGHTED, cap, slope
from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.nn.activations import QCFS

Span = tuple[Tensor, Tensor]  # smallest and largest possible value of each element, [1, C, ...]


@dataclass(frozen=True)
class ModelBased(Normaliser):
    """The largest possible drive of a layer, from the weights alone (Diehl et al. 2015): its largest neuron's positive weights times one
    spike of each input, and its bias. With it no neuron is driven above its threshold in a single step.

    Without biases, s_l = max_i sum_j max(0, w_ij) and a layer's scale is s_l times that of the layer before.
    low, high: range of the network's input. divide: `"above_one"` leaves the weights of a layer with s_l < 1 as they are, so that its
    scale is that of the layer before (the largest, where several feed it).
    """

    paper = bibliography.DIEHL
    low: float = 0.0
    high: float = 1.0
    divide: str = "always"

    def __post_init__(self) -> None:
        Choice(("always", "above_one")).check("ModelBased.divide", self.divide)
        if not self.low <= self.high or self.high <= 0:
            raise ParameterError(refusal("ModelBased.low, high", (self.low, self.high), "a range with low <= high and high > 0"))

    @torch.no_grad()
    def find(self, case: Case) -> dict[str, Tensor]:
        net = case.net
        sizes: dict[fx.Node, Tensor] = {}  # of a spike
        x = net.sample.new_ones(1, *net.sample.shape[1:])
        spans: dict[fx.Node, Span] = {}
        for node in net.nodes:
            module: Any = net.of(node)
            if node.op == "placeholder":
                spans[node] = x * self.low, x * self.high
                sizes[node] = x.new_tensor(self.high)
            elif fires(net, node):
                drive = spans[node.all_input_nodes[0]]
                before = torch.stack([sizes[source] for source in sources(net, node)]).amax()
                finite(node, drive[1])
                sizes[node] = scale = self._scale(module, drive, before)
                low = -scale if slope(module) else 0 * scale  # one spike up, and one down where it can
                spans[node] = low.expand_as(drive[0]), scale.expand_as(drive[0])
            elif node.op != "output":
                spans[node] = _pass(net, node, spans)
        return {node.name: size for node, size in sizes.items() if fires(net, node)}

    def _scale(self, module: Any, drive: Span, before: Tensor) -> Tensor:
        if isinstance(module, QCFS):
            return module.scale.detach().to(before)
        low, high = drive
        top = torch.maximum(high, -slope(module) * low).amax()
        if self.divide == "above_one":
            top = torch.maximum(top, before)
        return torch.where(top > 0, top, 1.0).minimum(cap(module).to(before).amax())


def _pass(net: Net, node: fx.Node, spans: dict[fx.Node, Span]) -> Span:
    """The span of a node that does not fire."""
    module: Any = net.of(node)
    if isinstance(module, WEIGHTED):
        low, high = spans[node.all_input_nodes[0]]
        return _weighted(module, low, high), _weighted(module, high, low)

    def value(end: int) -> Tensor:
        args = fx.map_arg(node.args, lambda other: spans[other][end])
        return module(*args) if module is not None else node.target(*args, **node.kwargs)  # type: ignore[operator]

    # monotone in every input; an Affine may turn it round
    return torch.minimum(value(0), value(1)), torch.maximum(value(0), value(1))


def _weighted(module: Any, low: Tensor, high: Tensor) -> Tensor:
    """Its smallest value: positive weights on the smallest input, negative ones on the largest. With ends exchanged, its largest."""
    zero = {} if module.bias is None else {"bias": torch.zeros_like(module.bias)}
    up = functional_call(module, {"weight": module.weight.clamp(min=0)}, (low,))
    return up + functional_call(module, {"weight": module.weight.clamp(max=0), **zero}, (high,))
