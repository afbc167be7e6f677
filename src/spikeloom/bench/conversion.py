"""A trained network converted and run: seconds to convert, and images a second of the spiking network, ours and another library's."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom import convert, models
from spikeloom.bench import rivals
from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, head, rows, short
from spikeloom.bench.rivals import Evaluator
from spikeloom.bench.timing import Run
from spikeloom.convert import Converted
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.io import weights
from spikeloom.neurons import Neuron

NETS = {"vgg": "ann_vgg", "resnet": "ann_resnet"}
SHAPE, TEST_SET = (3, 32, 32), 10_000
# share of the first layer's neurons with equal counts, and the outputs' distance over their length: rounding decides single spikes,
# which move those after them
TOLERANCE = {"float32": (0.99, 0.05), "bfloat16": (0.8, 0.2)}
GATED, LONGER, FALL = 4, 4, 0.6  # images; times the steps, after which the distance from the ANN must be below this share
ANN, OURS = "ann", "spikeloom"


@dataclass(frozen=True)
class Options:
    """net: `"vgg"` or `"resnet"`; weights: a file with trained ones, else random; channels: of the stages, () for the model's own.

    method: what the time of conversion is taken of; the speed is that of rueckauer2017 with maxima as scales, which other libraries have
    too. calibration: images to convert with. batches: images in a call, of which each contender takes its fastest.
    """

    net: str = "vgg"
    weights: str | None = None
    method: str = "rueckauer2017"
    channels: tuple[int, ...] = ()
    calibration: int = 1024
    steps: int = 32
    batches: tuple[int, ...] = (16, 64)

    def __post_init__(self) -> None:
        Choice(tuple(NETS)).check("bench --net", self.net)
        for name, value in (("calibration", self.calibration), ("steps", self.steps), *(("batches", size) for size in self.batches)):
            if value < 1:
                raise ParameterError(refusal(f"bench --{name}", value, "at least 1"))


class Problem:
    """The ANN and its inputs; the images are random, for what a dense layer costs does not depend on them."""

    def __init__(self, options: Options, device: torch.device) -> None:
        torch.manual_seed(0)
        self.options, self.device = options, device
        net = models.known[NETS[options.net]](**({"channels": options.channels} if options.channels else {}))
        if options.weights:
            weights.load(net, Path(options.weights))
        self.ann = net.eval().to(device)
        self.images = torch.randn(max(options.calibration, *options.batches), *SHAPE, generator=torch.Generator().manual_seed(1)).to(device)

    @property
    def calibration(self) -> Tensor:
        """Images to convert with."""
        return self.images[: self.options.calibration]

    def converted(self) -> Converted:
        """Ours, with the largest activations as scales."""
        return convert(self.ann, "rueckauer2017", self.calibration, self.options.steps, percentile=100.0)


def ours(snn: Converted) -> list[Evaluator]:
    """Our ways to run `snn`: as it is, with channels last, and with either in bfloat16 by autocast."""
    found = []
    for layout, kind in (("", torch.contiguous_format), ("-channels-last", torch.channels_last)):
        net = copy.deepcopy(snn).to(memory_format=kind)
        for precision in TOLERANCE:
            suffix = "-bf16" if precision == "bfloat16" else ""
            found.append(Evaluator(f"{OURS}{layout}{suffix}", _runner(net, precision, kind), net, Neuron, precision))
    return found


def _runner(snn: Converted, precision: str, layout: torch.memory_format) -> Callable[[Tensor, int], Tensor]:
    @torch.no_grad()
    def run(x: Tensor, steps: int) -> Tensor:
        snn.steps = steps
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return snn(x.contiguous(memory_format=layout)).float().mean(0)

    return run


def watched(one: Evaluator, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Spike counts `[B, ...]` of the neurons that fire first, and the mean outputs `[B, classes]`."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hook = lambda module, inputs, output: seen.append((module, output)) if not seen or seen[0][0] is module else None  # noqa: E731
    handles = [module.register_forward_hook(hook) for module in one.net.modules() if isinstance(module, one.neuron)]
    try:
        answer = one.run(x, steps)
    finally:
        for handle in handles:
            handle.remove()
    spikes = torch.cat([output.reshape(-1, *output.shape[-3:]) for _, output in seen])  # [T*B, C, H, W], a step or all at a time
    return spikes.float().unflatten(0, (steps, -1)).sum(0), answer


def check(one: Evaluator, problem: Problem, oracle: Evaluator) -> Verdict:
    """Is it the function that `oracle` computes, up to spikes that rounding decides, and does it tend to the ANN?"""
    x, steps = problem.images[:GATED], problem.options.steps
    try:
        with torch.no_grad():
            wanted = problem.ann(x)
        (first, answer), (counts, expected) = watched(one, x, steps), watched(oracle, x, steps)
        equal, apart = (first.round() == counts.round()).float().mean().item(), _apart(answer, expected)
        near, far = _apart(one.run(x, steps * LONGER), wanted), _apart(answer, wanted)
    except Exception as error:  # whatever foreign code raises: it is not timed, and the record says why
        return Verdict(one.impl, False, f"raised {type(error).__name__}: {str(error).strip() or 'no message'}")
    least, most = TOLERANCE[one.precision]
    text = f"{equal:.2%} of the first layer's counts as ours in float32, outputs within {apart:.2g}; "
    text += f"distance from the ANN {far:.2g} at T = {steps}, {near:.2g} at {steps * LONGER}"
    return Verdict(one.impl, equal >= least and apart <= most and near <= FALL * far, text)


def _apart(got: Tensor, wanted: Tensor) -> float:
    return ((got - wanted).norm() / wanted.norm().clamp(min=1e-30)).item()


def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: `results`, a row for each way to run; `conversions`, a row for each converter."""
    with place.settled() as device:
        problem = Problem(options, device)
        field, runners, converters = gather(problem, told)
        sizes = {one.impl: fastest(one, problem, told) for one in runners}
        runs: dict[str, Run] = {one.impl: _call(one, problem.images[: sizes[one.impl]], options.steps) for one in runners}
        timings = field.race(runs, place, "evaluation")
        results = rows(timings, "evaluation", place)
        precision = {one.impl: one for one in runners}
        for row in results:
            impl, size = row["impl"], sizes[row["impl"]]
            row["vs_ann"] = row.pop("vs_copy") * sizes[ANN] / size
            row |= {"batch": size, "precision": precision[impl].precision, "note": precision[impl].note}
            row["images_per_second"] = size / row["median_ms"] * 1e3
            row["test_set_s"] = TEST_SET / row["images_per_second"]
        conversions = rows(field.race(converters, place, "conversion"), "conversion", place)
        for row in conversions:
            row["vs_ours"] = row.pop("vs_copy")
        first = _first_share(next(one for one in runners if one.impl == OURS), problem.images[: sizes[OURS]], options.steps)
        constants = {"shape": SHAPE, "parameters": sum(p.numel() for p in problem.ann.parameters()), "test_set": TEST_SET}
        return head("conversion", asdict(options), place, field) | {
            "results": results, "conversions": conversions, "before_first_neuron": first, "constants": constants,
        }  # fmt: skip


def gather(problem: Problem, told: Callable[[str], object]) -> tuple[Field, list[Evaluator], dict[str, Run]]:
    """The ways to run that passed their gate, the ANN first, and what converts."""
    field = Field()
    own = ours(problem.converted())
    ann = torch.no_grad()(lambda x, steps: problem.ann(x))
    runners = [Evaluator(ANN, ann, problem.ann, nn.ReLU, note="one pass of the network that was converted")]
    field.judge(Verdict(ANN, True, "the network that was converted"), told)
    runners += [one for one in own if field.judge(check(one, problem, own[0]), told)]
    options, data = problem.options, problem.calibration
    converters: dict[str, Run] = {OURS: lambda: convert(problem.ann, options.method, data, options.steps)}
    for impl, rival in ((cls.impl, cls()) for cls in rivals.known.values() if cls.requirement):
        version, reason = rival.available()
        try:
            if version is None:
                raise rivals.Unavailable(reason)
            found = rival.evaluators(rival.convert(problem.ann, [data]))  # one batch: its maxima are then those of all images
        except Exception as why:  # whatever foreign code raises
            field.leave_out(impl, str(why) if isinstance(why, rivals.Unavailable) else f"{type(why).__name__}: {why}", told)
            continue
        field.versions[impl] = version
        passed = [one for one in found if field.judge(check(one, problem, own[0]), told)]
        runners += passed
        if any(one.impl == impl for one in passed):
            converters[impl] = lambda rival=rival: rival.convert(problem.ann, list(data.split(64)))
    return field, runners, converters


def _call(one: Evaluator, x: Tensor, steps: int) -> Run:
    return lambda: one.run(x, steps)


def fastest(one: Evaluator, problem: Problem, told: Callable[[str], object]) -> int:
    """The number of images in a call, of those asked for, that takes the least time for each."""
    steps, spent = problem.options.steps, {}
    one.run(problem.images[: min(problem.options.batches)], steps)
    for size in problem.options.batches:
        start = time.perf_counter()
        one.run(problem.images[:size], steps)[0, 0].item()
        spent[size] = (time.perf_counter() - start) / size
    best = min(spent, key=spent.__getitem__)
    told(f"{one.impl}: {best} images in a call")
    return best


def _first_share(one: Evaluator, x: Tensor, steps: int, rounds: int = 3) -> float:
    """Share of a call's time that passes before the first neuron: the same frame goes through these layers T times."""
    marks: list[float] = []
    hook = lambda module, inputs: marks.append(time.perf_counter())  # noqa: E731
    handles = [module.register_forward_pre_hook(hook) for module in one.net.modules() if isinstance(module, one.neuron)]
    shares = []
    try:
        for _ in range(rounds):
            marks.clear()
            start = time.perf_counter()
            one.run(x, steps)
            shares.append((marks[0] - start) / (time.perf_counter() - start))
    finally:
        for handle in handles:
            handle.remove()
    return statistics.median(shares)


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown."""
    o, first = record["options"], record["before_first_neuron"]
    columns = ["impl", "precision", "malloc", "images a call", "ms", "images/s", f"{TEST_SET:,} images, s", "over the ANN's pass", "rounds"]
    keys = ("batch", "median_ms", "images_per_second", "test_set_s", "vs_ann", "rounds")
    speed: list[list[object]] = [
        [row["impl"], row["precision"], row["malloc"], *(short(row[key]) for key in keys)] for row in record["results"]
    ]
    times: list[list[object]] = [
        [row["impl"], row["malloc"], short(row["median_ms"] / 1e3), short(row["vs_ours"]), row["rounds"]] for row in record["conversions"]
    ]
    return [
        (f"{NETS[o['net']]} at T = {o['steps']}, {record['threads']} thread(s); {first:.1%} before the first neuron", columns, speed),
        (
            f"Converting with {o['calibration']:,} images, ours by {o['method']}",
            ["impl", "malloc", "seconds", "over ours", "rounds"], times,
        ),
    ]  # fmt: skip
