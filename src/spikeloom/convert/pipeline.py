"""The verb: a trained network in, a spiking network out, with a ledger of what each pass did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.convert import passes, routes
from spikeloom.convert.graph import Batches, Net
from spikeloom.convert.normalisers import Case
from spikeloom.convert.passes import Pass
from spikeloom.convert.routes import Route
from spikeloom.convert.simulate import Trial
from spikeloom.convert.take import take
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.progress import Progress, silent
from spikeloom.nn.snn import SNN

PROBED, PROBE_STEPS, CORRECTED = 16, 64, 128

Row = dict[str, Any]


@dataclass
class Conversion:
    """How an SNN came about.

    ann: the trained network's graph in its own units, as far as the route keeps its function. scales: ANN activation per spike, by node
    name, each a number or one per channel. ledger: a row `{"pass", "nodes", "scale", "error", "steps"}` for each pass; error is the
    distance of the outputs from the trained network's on a few calibration inputs, relative to their size.
    """

    method: str
    route: Route
    options: dict[str, Any]
    ann: Net
    scales: dict[str, Tensor] = field(default_factory=dict)
    ledger: list[Row] = field(default_factory=list)


class Converted(SNN):
    """An SNN that remembers its `conversion`; `ledger` is the table of its passes."""

    conversion: Conversion

    @property
    def ledger(self) -> list[Row]:
        """A row for each pass: pass, nodes, scale, error, steps."""
        return self.conversion.ledger


def convert(model: nn.Module, method: str, data: Any, steps: int, *, progress: Progress = silent, **options: Any) -> Converted:
    """A spiking network that computes what the trained `model` computes.

    Args:
        model: any torch module from `[B, ...]` to one tensor `[B, classes]`; not changed.
        method: a name of `spikeloom.convert.routes.known`, such as `"rueckauer2017"`.
        data: calibration inputs as the model takes them: a tensor `[N, ...]`, or an iterable of `[B, ...]` or (inputs, labels).
        steps: T.
        progress: given what a long loop goes through, the number of these and what is done; gives them back, and may show it.
        options: what differs from the published route, such as `reset="zero"`; see `Route.options`.

    Raises:
        ConversionError: an operation that has no spiking form, by name and place.
        ParameterError: an unknown method or option, or a value that is not allowed.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ParameterError(refusal("convert steps", steps, "a whole number of at least 1"))
    route = routes.load(method, options)
    batches = Batches(data)
    builder = _Builder(route, take(model, batches.sample(PROBED)), steps)
    for each in _before(route):
        builder.run(each)
    conversion = Conversion(method, route, dict(options), builder.net.copy(), ledger=builder.ledger)
    case = Case(builder.net, batches, steps, route.encoder(), route.make, progress)
    conversion.scales = route.rule().scales(case)
    for each in _after(route, conversion, batches, steps, progress):
        builder.run(each)
    snn = Converted(builder.net.module, steps, route.encoder(), prelude=route.prelude)
    snn.conversion = conversion
    return snn.eval()


def _before(route: Route) -> Iterator[Pass]:
    yield passes.NameModules()
    yield passes.SplitShared()
    yield passes.RemoveDropout()
    if route.pools == "average":
        yield passes.AveragePools()
    yield passes.FoldNorms()
    if route.pool_neurons == "own":
        yield passes.PoolNeurons()
    if route.readout == "spikes":
        yield passes.SpikeReadout()
    if route.leaky == "dropped":
        yield passes.DropNegative()


def _after(route: Route, conversion: Conversion, batches: Batches, steps: int, progress: Progress) -> Iterator[Pass]:
    yield passes.PlaceScales(conversion.scales)
    yield passes.AbsorbScales()
    if route.pools != "average":
        yield passes.GatePools("leader" if route.pools == "gate" else "increase")
    yield passes.PlaceNeurons(route.make)
    if route.corrections:
        trial = Trial(conversion.ann, batches.sample(CORRECTED), steps, route.encoder(), route.prelude, progress)
        for name in route.corrections:
            yield {"bias": passes.CorrectBias, "potential": passes.CorrectPotential}[name](trial)


class _Builder:
    """Runs passes on one net and keeps the ledger."""

    def __init__(self, route: Route, net: Net, steps: int) -> None:
        self.route, self.net, self.steps = route, net, steps
        self.ledger: list[Row] = []
        self.wanted = self._output()

    def run(self, each: Pass) -> None:
        nodes, scales = each.run(self.net)
        output, steps = self._output(), min(self.steps, PROBE_STEPS) if "spiking" in self.net.facts else None
        if isinstance(each, passes.RemoveDropout):
            self.wanted = output  # from here on the outputs are those before the softmax
        error = ((output - self.wanted).norm() / self.wanted.norm().clamp(min=1e-30)).item()
        scale = None if scales is None else {name: value.tolist() for name, value in scales.items()}
        self.ledger.append({"pass": each.name, "nodes": nodes, "scale": scale, "error": error, "steps": steps})

    @torch.no_grad()
    def _output(self) -> Tensor:
        """What the net answers to the sample, `[B, ...]`."""
        if "spiking" not in self.net.facts:
            return self.net.module(self.net.sample).double()
        snn = SNN(self.net.module, min(self.steps, PROBE_STEPS), self.route.encoder(), prelude=self.route.prelude).eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return snn(self.net.sample).mean(0).double()
