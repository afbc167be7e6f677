"""A float32 Runner becomes one of whole numbers: scales from its weights and from calibration inputs, and what that costs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikeloom.convert.graph import Batches
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.infer.runner import Runner
from spikeloom.infer.stages import Current, Layer, Stage
from spikeloom.infer.terms import Term
from spikeloom.infer.values import Events, Still, Value
from spikeloom.infer.whole import FINE, MOST, WholeCurrent, WholeLayer, WholeTerm, bounded, integer_form

WEIGHT, INPUT = 127, 1 << 15  # the largest whole weight and, at calibration, the largest whole analog input
CURRENT = 1 << 18  # fine units of the largest product of a layer without events
LEAST = 1 << FINE  # a threshold of fewer fine units is no integer threshold
OFFSET = 1 << 20  # no bias or threshold has more units of a weight, so that each fits into an int32
MEASURED, BATCH, RANGED = 256, 16, 4  # inputs for the loss, in calls of so many; calls for the ranges


def quantised(runner: Runner, data: Any) -> Runner:
    """`runner` with int8 weights and its `loss`: on up to MEASURED inputs, `agreement`, the share with the class of float32 by the mean
    output, `difference`, the distance of the mean outputs over their length, and `images`, their number.

    data: inputs as the Runner takes them, or an iterable of `[B, ...]` or (inputs, labels). Raises ParameterError without any.
    """
    inputs = _inputs(runner, data)
    seen = _ranges(runner, inputs)
    stages: dict[str, Stage] = {name: _whole(stage, seen[name]) for name, stage in runner.stages.items()}
    whole = Runner(stages, runner.output, runner.steps, copy.deepcopy(runner.encoder), runner.prelude)
    whole.precision, whole.about = "int8", runner.about
    whole.loss = _loss(runner, whole, inputs)
    return whole


def _inputs(runner: Runner, data: Any) -> list[Tensor]:
    """The calibration inputs in calls of BATCH."""
    if data is None:
        raise ParameterError(refusal("compile data", None, "calibration inputs, for precision='int8'"))
    if runner.encoder is None:
        batches = [data] if isinstance(data, Tensor) else [x if isinstance(x, Tensor) else x[0] for x in data]
        return [part for x in batches for part in x.split(BATCH, 1)][: MEASURED // BATCH]
    return list(Batches(data).sample(MEASURED).split(BATCH))


Range = tuple[float | None, float]  # the unit of events, None for other values, and the largest magnitude


def _ranges(runner: Runner, inputs: list[Tensor]) -> dict[str, list[Range]]:
    """What reaches each term of each stage."""
    seen: dict[str, list[Range]] = {}

    def watching(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def watched(values: list[Value], steps: int, state: Any) -> Any:
            now = [_range(v) for v in values]
            seen[name] = [_wider(a, b) for a, b in zip(seen.get(name, now), now, strict=True)]
            return run(values, steps, state)

        return watched

    try:
        for name, stage in runner.stages.items():
            stage.__dict__["run"] = watching(name, stage.run)
        with torch.random.fork_rng(devices=[]):
            for x in inputs[:RANGED]:
                runner(x)
    finally:
        for stage in runner.stages.values():
            stage.__dict__.pop("run", None)
    return seen


def _range(value: Value) -> Range:
    if isinstance(value, Events):
        return value.scale, value.scale * (2**value.bits.planes - 1)
    x = value.x if isinstance(value, Still) else value
    return None, float(x.abs().max()) if x.numel() else 0.0


def _wider(a: Range, b: Range) -> Range:
    return a[0] if a[0] == b[0] else None, max(a[1], b[1])


def _whole(stage: Stage, seen: list[Range]) -> Stage:
    if not isinstance(stage, Current):
        return copy.deepcopy(stage)
    terms: list[Any] = list(stage.terms)
    sizes = [v.numel() for t in terms for v in (t.bias, t.factor) if v is not None]
    sizes += [len(t.weight) for t in terms if t.weight is not None]
    if isinstance(stage, Layer):
        sizes += [v.numel() for v in stage.neuron.values().values()]
    return _Layer(stage, terms, seen, max(1, *sizes)).made()


class _Layer:
    """One layer under way. Units: of a weight on events `[channels]`, float64."""

    def __init__(self, stage: Current, terms: list[Term], seen: list[Range], channels: int) -> None:
        self.stage, self.seen = stage, list(zip(terms, seen, strict=True))
        biases = [t.bias.double().expand(channels) for t in terms if t.bias is not None]
        self.bias = sum(biases, torch.zeros(channels, dtype=torch.float64))
        self.neuron = stage.neuron if isinstance(stage, Layer) else None

    def made(self) -> Stage:
        fine = self.fine()
        terms = [self.term(term, *seen, fine) for term, seen in self.seen]
        if self.neuron is None:
            return WholeCurrent(self.stage.inputs, terms, fine, self.bias)
        why = integer_form(self.neuron) or self.narrow(fine)
        neuron, bias = copy.deepcopy(self.neuron), bounded((self.bias / fine).round())
        return WholeLayer(self.stage.inputs, terms, neuron, fine, bias, torch.float32 if why else torch.int32, why)

    def fine(self) -> Tensor:
        """The fine unit of each channel."""
        events = [_largest(t) * unit / WEIGHT for t, (unit, _) in self.seen if unit is not None and t.weight is not None]
        if events:
            found = torch.stack([e.expand(len(self.bias)) for e in events]).amax(0)
        else:
            sizes = [_largest(t) * most for t, (_, most) in self.seen]
            found = torch.stack([s.expand(len(self.bias)) for s in sizes]).amax(0) / CURRENT * 2**FINE
        found = torch.maximum(found, self.bias.abs() / OFFSET)
        for value in [] if self.neuron is None else self.neuron.values().values():
            found = torch.maximum(found, torch.where(value.isfinite(), value, 0.0).abs().double() / OFFSET)
        return torch.where(found > 0, found, 1.0) / 2**FINE

    def narrow(self, fine: Tensor) -> str:
        """Why thresholds are no integers; "" where they may be."""
        values = [v.double() / fine for name, v in self.neuron.values().items() if name == "threshold"]  # type: ignore[union-attr]
        small = any(bool((v < LEAST).any()) for v in values)
        large = any(bool((v.double() / fine > MOST).any()) for v in self.neuron.values().values())  # type: ignore[union-attr]
        return "a threshold is smaller than one unit of a weight" if small else "a threshold is out of range" if large else ""

    def term(self, term: Term, unit: float | None, most: float, fine: Tensor) -> WholeTerm:
        kind, source = ("events", unit) if unit is not None else ("analog", max(most, 1e-30) / INPUT)
        assert source is not None
        if term.weight is None:
            factor = torch.ones(()) if term.factor is None else term.factor
            return WholeTerm(None, factor.double() * source / fine, term.options, source, kind)
        weight = term.weight.double()
        shape = (-1, *[1] * (weight.dim() - 1))
        if kind == "events":
            whole, factor = weight * source / (fine * 2**FINE).view(shape), torch.full_like(fine, 2.0**FINE)
        else:
            own = _largest(term) / WEIGHT
            own = torch.where(own > 0, own, 1.0)
            whole, factor = weight / own.view(shape), own * source / fine
        return WholeTerm(whole.round().clamp(-WEIGHT, WEIGHT).to(torch.int8), factor, term.options, source, kind)


def _largest(term: Term) -> Tensor:
    """The largest magnitude of each channel's weights, float64 `[channels]` or `[]`."""
    if term.weight is not None:
        return term.weight.double().flatten(1).abs().amax(1)
    return torch.ones((), dtype=torch.float64) if term.factor is None else term.factor.double().abs()


def _loss(runner: Runner, whole: Runner, inputs: list[Tensor]) -> dict[str, float]:
    same, count, apart, size = 0, 0, 0.0, 0.0
    for k, x in enumerate(inputs):
        answers = []
        for one in (runner, whole):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(k)
                answers.append(one(x).mean(0).double().flatten(1))
        wanted, found = answers
        same += int((wanted.argmax(1) == found.argmax(1)).sum())
        count, apart, size = count + len(wanted), apart + float((found - wanted).square().sum()), size + float(wanted.square().sum())
    return {"agreement": same / max(count, 1), "difference": (apart / size) ** 0.5 if size else 0.0, "images": count}
