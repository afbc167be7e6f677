from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from spikeloom.convert.graph import ADD, Net
from spikeloom.convert.normalisers.base import Case, Normaliser, scale_before
from spikeloom.convert.statistics import finite
from spikeloom.convert.upstream import fires, firing, nearest, sources
from spikeloom.convert.vocabulary import WEIGHTED, in_units
from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Count
from spikeloom.neurons import Neuron
from spikeloom.nn.activations import QCFS

GROUP = 16  # images in one run


@dataclass(frozen=True)
class SpikeNorm(Normaliser):
    """The largest current that the spikes of the layers before give at any step, layer after layer (Sengupta et al. 2019).

    The layers before run as neurons with the scales found so far. Activations whose spikes enter the same sum, directly or through one
    weighted layer, share the largest of their scales; later layers are searched with it.

    search_steps: of the runs; None for those of the SNN, 100 at most (the paper: 2500; a longer search finds larger scales only).
    factor: multiplies all scales in the end; 0.7 in a re-implementation for few steps.
    search_images: how many calibration inputs it runs, those of smallest checksum.
    Random input is drawn anew for each image from a seed made of the image: the same whatever the order, and torch's generators stay
    as they are. One run of the layers before for each level of the graph.
    """

    paper = bibliography.SPIKE_NORM
    search_steps: int | None = None
    factor: float = 1.0
    search_images: int = 128

    def __post_init__(self) -> None:
        if self.search_steps is not None:
            Count(1).check("SpikeNorm.search_steps", self.search_steps)
        Count(1).check("SpikeNorm.search_images", self.search_images)
        if not 0 < self.factor < float("inf"):
            raise ParameterError(refusal("SpikeNorm.factor", self.factor, "positive", "1 for the largest current, below 1 for fewer steps"))

    def find(self, case: Case) -> dict[str, Tensor]:
        trained = {node.name: module.scale.detach().to(case.net.sample) for node, module in case.net.calls((QCFS,))}
        found, junctions = dict(trained), _junctions(case.net, set(trained))
        levels = _levels(case.net)
        for level in case.progress(levels, len(levels), "Spike-Norm, layer by layer"):
            sought = [node for node in level if node.name not in trained]
            if sought:
                found |= self._search(case, sought, found)
            for group in junctions:
                known = [found[name] for name in group if name in found]
                found |= {name: torch.stack(known).amax() for name in group if name in found}
        return {name: scale * self.factor for name, scale in found.items() if name not in trained}

    @torch.no_grad()
    def _search(self, case: Case, sought: list[fx.Node], scales: dict[str, Tensor]) -> dict[str, Tensor]:
        """The largest current, as the activation passes it, into each of these nodes."""
        net, steps = case.net, self.search_steps or min(case.steps, 100)
        neurons = _neurons(case, scales, steps)
        readers: dict[fx.Node, list[fx.Node]] = {}
        for node, _ in net.activations():
            readers.setdefault(node.all_input_nodes[0], []).append(node)
        found = {node.name: net.sample.new_zeros(()) for node in sought}
        last = [node for node in net.nodes if any(reader in sought for reader in readers.get(node, []))][-1]
        currents: dict[fx.Node, Tensor] = {}

        def look(node: fx.Node, value: Tensor) -> Tensor | None:
            if node in neurons:
                neuron, scale = neurons[node]
                value = scale * neuron(currents[node] / scale)
            for reader in readers.get(node, []):
                currents[reader] = value.clone()  # an activation may work in place
                if reader in sought:
                    top = net.of(reader)(finite(node, value).clone()).abs().amax()  # type: ignore[misc]
                    found[reader.name] = torch.maximum(found[reader.name], top)
            return value

        for x in _encoded(case, steps, self.search_images):
            net.watch(look, x, until=last)
        return {name: torch.where(scale > 0, scale, 1.0) for name, scale in found.items()}


def _neurons(case: Case, scales: dict[str, Tensor], steps: int) -> dict[fx.Node, tuple[Neuron, Tensor]]:
    """A neuron of threshold 1 and its scale for each activation that has one; those behind a pool have the scale before it."""
    made = {}
    for node, module in case.net.activations():
        scale = scales.get(node.name) if fires(case.net, node) else scale_before(case.net, node, scales)
        if scale is not None:
            neuron = case.make(in_units(module, scale), case.net.sample.new_tensor(1.0)).to(case.net.sample).eval()
            neuron.steps = steps
            made[node] = neuron, scale
    return made


def _encoded(case: Case, steps: int, images: int) -> Iterator[Tensor]:
    """Groups of images over time, `[T*B, ...]`."""
    for group in case.batches.sample(images).split(GROUP):
        over_time = []
        for x in group.cpu().split(1):
            with torch.random.fork_rng(devices=[]):
                # of this computer's generator alone: torch.manual_seed would set those of all devices
                torch.default_generator.manual_seed(zlib.crc32(x.float().contiguous().numpy().tobytes()))
                over_time.append(case.encoder(x, steps))
        yield torch.cat(over_time, 1).flatten(0, 1).to(group)


def _levels(net: Net) -> list[list[fx.Node]]:
    """The activations by the number of activations before them on the longest path."""
    depth: dict[fx.Node, int] = {}
    levels: list[list[fx.Node]] = []
    for node, _ in firing(net):
        depth[node] = max((depth[source] + 1 for source in sources(net, node) if source in depth), default=0)
        levels += [[]] * (depth[node] == len(levels))
        levels[depth[node]] = [*levels[depth[node]], node]
    return levels


def _junctions(net: Net, fixed: set[str]) -> list[set[str]]:
    """Names of the activations that enter the same sums, but for the fixed ones; groups that share one are one."""

    def stop(node: fx.Node) -> bool:
        return fires(net, node) or isinstance(net.of(node), WEIGHTED)

    merged: list[set[str]] = []
    for node in net.nodes:
        if node.target is not ADD:
            continue
        ends = nearest(net, node, stop)
        ends += [far for end in ends if isinstance(net.of(end), WEIGHTED) for far in nearest(net, end, stop)]
        group = {end.name for end in ends if fires(net, end)} - fixed
        rest = [other for other in merged if not other & group]
        merged = [*rest, group.union(*(other for other in merged if other & group))]
    return merged
