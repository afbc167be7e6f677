from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from spikeloom.convert.graph import ADD, Net
from spikeloom.convert.normalisers.base import Case, Normaliser, scale_before
from spikeloom.convert.parts import Part, Room, few, given
from spikeloom.convert.statistics import finite
from spikeloom.convert.upstream import fires, firing, nearest, sources
from spikeloom.convert.vocabulary import WEIGHTED, in_units
from spikeloom.core import bibliography
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Count
from spikeloom.nn import still
from spikeloom.nn.activations import QCFS
from spikeloom.nn.encoders import Encoder


@dataclass(frozen=True)
class SpikeNorm(Normaliser):
    """The largest current that the spikes of the layers before give at any step, layer after layer (Sengupta et al. 2019).

    The layers before run as neurons with the scales found so far. Activations whose spikes enter the same sum, directly or through one
    weighted layer, share the largest of their scales; later layers are searched with it.

    search_steps: of the runs; None for those of the SNN, 100 at most (the paper: 2500; a longer search finds larger scales only).
    factor: multiplies all scales in the end; 0.7 in a re-implementation for few steps.
    search_images: how many calibration inputs it runs, those of smallest checksum.
    Random input is drawn anew for each image from a seed made of the image: the same whatever the order, and torch's generators stay
    as they are.
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
        levels, search = _levels(case.net), _Search(case, self.search_steps or min(case.steps, 100), self.search_images)
        for level in case.progress(levels, len(levels), "Spike-Norm, layer by layer"):
            sought = [node for node in level if node.name not in trained]
            if sought:
                found |= search.largest(sought, found)
            for group in junctions:
                known = [found[name] for name in group if name in found]
                found |= {name: torch.stack(known).amax() for name in group if name in found}
            search.settle(found, [group for group in junctions if not group <= found.keys()])
        return {name: scale * self.factor for name, scale in found.items() if name not in trained}


class _Search:
    """Runs of the calibration images, from spikes that are kept: a layer runs once to be searched, and once for each scale that it gets.

    ran: the scale with which the kept spikes of a neuron were made; over: neurons whose spikes nobody will ask for again.
    """

    def __init__(self, case: Case, steps: int, images: int) -> None:
        self.case, self.steps = case, steps
        self.order = [node for node, _ in case.net.activations()]
        self.given = {node: given(node, self.order) for node in self.order}
        inputs = few(case.batches.sample(images), steps)
        self.ran, self.over = dict[fx.Node, Tensor](), set[fx.Node]()
        self.parts = [Part(case.net.module, k, partial(_encoded, case.encoder, x, steps), self.ran) for k, x in enumerate(inputs)]

    @torch.no_grad()
    def largest(self, sought: list[fx.Node], scales: dict[str, Tensor]) -> dict[str, Tensor]:
        """The largest current, as the activation passes it, into each of these nodes."""
        net = self.case.net
        once = still.held(still.readers(net.module, net.module.graph) if self.case.encoder.still else (), self.steps)
        found = {node.name: net.sample.new_zeros(()) for node in sought}
        with once:
            self._run(sought, scales)
            for part in self.parts:
                for node in sought:
                    source: Any = node.args[0]
                    current = finite(source, part.value(source)).clone()  # an activation may work in place
                    active = net.of(node)(current)  # type: ignore[misc]
                    found[node.name] = found[node.name].maximum(active.amax()).maximum(-active.amin())
        return {name: torch.where(scale > 0, scale, 1.0) for name, scale in found.items()}

    def settle(self, scales: dict[str, Tensor], growing: list[set[str]]) -> None:
        """Drop spikes that were made with other scales, and those that only neurons read which will not run again.

        growing: groups whose common scale may still change.
        """
        self._drop(self._after({node for node, scale in self.ran.items() if not torch.equal(scale, self._scale(node, scales))}))
        again = {node for node in self.order if node not in self.ran and node not in self.over}
        again |= {node for node in self.order if any(node.name in group for group in growing)}
        read = set[fx.Node]().union(*(self.given[node] for node in self._after(again)))
        self.over |= self.ran.keys() - read
        self._drop(self.over)

    def _run(self, sought: list[fx.Node], scales: dict[str, Tensor]) -> None:
        """The neurons before, as far as their spikes are not kept."""
        missing, left = set[fx.Node](), list(sought)
        while left:
            new = self.given[left.pop()] - self.ran.keys() - missing
            missing |= new
            left += new
        for node in [node for node in self.order if node in missing]:
            scale, source, room = self._scale(node, scales), node.args[0], Room(len(self.parts))
            neuron = self.case.make(in_units(self.case.net.of(node), scale), self.case.net.sample.new_tensor(1.0))  # type: ignore[arg-type]
            neuron = neuron.to(self.case.net.sample).eval()
            neuron.steps = self.steps
            for part in self.parts:
                part.keep(node, neuron(part.value(source) / scale), room)  # type: ignore[arg-type]
            self.ran[node] = scale

    def _scale(self, node: fx.Node, scales: dict[str, Tensor]) -> Tensor:
        return scales[node.name] if fires(self.case.net, node) else scale_before(self.case.net, node, scales)

    def _after(self, first: set[fx.Node]) -> set[fx.Node]:
        """These neurons, and those that their spikes reach."""
        found = set(first)
        for node in self.order:
            if self.given[node] & found:
                found.add(node)
        return found

    def _drop(self, nodes: set[fx.Node]) -> None:
        for node in nodes & self.ran.keys():
            del self.ran[node]
            for part in self.parts:
                del part.kept[node]


def _encoded(encoder: Encoder, inputs: Tensor, steps: int) -> Tensor:
    """Images over time, `[T*B, ...]`."""
    over_time = []
    for x in inputs.cpu().split(1):
        with torch.random.fork_rng(devices=[]):
            # of this computer's generator alone: torch.manual_seed would set those of all devices
            torch.default_generator.manual_seed(zlib.crc32(x.float().contiguous().numpy().tobytes()))
            over_time.append(encoder(x, steps))
    return torch.cat(over_time, 1).flatten(0, 1).to(inputs)


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
