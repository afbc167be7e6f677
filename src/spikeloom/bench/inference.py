"""A converted network classifies real images: our Runner in float32 and int8, our dense engine, another library, and the ANN itself."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom import data, infer, study
from spikeloom.bench import rivals
from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, bar, head, short
from spikeloom.bench.timing import Run, interleaved
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.io import zoo

ANN, SPARSE, WHOLE, DENSE = "ann", "spikeloom-sparse", "spikeloom-int8", "spikeloom-dense"
RIVAL = "SpikingJelly"
TOLERANCE = {SPARSE: 0.05, WHOLE: 0.25}  # distance of the mean outputs from the dense engine's; others as SPARSE
GATED, SHOWN = 4, 8  # images of the gate; images at least in one sample
ROWS = 512  # images times steps in a call while accuracy is measured

Answer = Callable[[Tensor], Tensor]  # images as the converted network takes them, to mean outputs [B, classes]


@dataclass(frozen=True)
class Options:
    """model: what `spikeloom convert` takes, with `weights` for a model; data: image set, "" for the one of the zoo's card.

    batches: images in a call; images: test images for the accuracy, the first ones; calibration: training images.
    """

    model: str = "ann-vgg-cifar10"
    weights: str | None = None
    data: str = ""
    method: str = "rueckauer2017"
    steps: int = 64
    batches: tuple[int, ...] = (1, 16)
    images: int = 256
    calibration: int = 1024
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name, values in (("steps", [self.steps]), ("images", [self.images]), ("batches", self.batches)):
            if min(values) < 1:
                raise ParameterError(refusal(f"bench --{name}", min(values), "at least 1"))


class Problem:
    """The network converted, and test images as it takes them."""

    def __init__(self, options: Options) -> None:
        one = study.subject(options.model, Path(options.weights) if options.weights else None)
        cards = zoo.cards()
        if not options.data and options.model not in cards:
            advice = "only the zoo's networks name theirs"
            raise ParameterError(refusal("bench --data", "nothing", f"the image set of {options.model}", advice))
        self.images = data.load(options.data or cards[options.model].data, options.data_dir)
        made = study.ready(one, options.method, self.images, options.steps, calibration=options.calibration)
        self.options = options
        self.snn, self.ann, self.calibrated, self.weights = made.snn, made.net, made.calibrated, one.weights
        count = max(options.images, SHOWN, *options.batches)
        self.x = made.prepare(self.images.test_images[:count])
        self.labels = torch.from_numpy(np.array(self.images.test_labels[: options.images]))

    def seeded(self, answer: Answer) -> Answer:
        """The same random input for every contender."""

        def seeded(x: Tensor) -> Tensor:
            torch.manual_seed(0)
            return answer(x)

        return seeded if self.snn.encoder is not None and not self.snn.encoder.still else answer


def contenders(
    problem: Problem, field: Field, told: Callable[[str], object]
) -> tuple[dict[str, Answer], dict[str, infer.Runner], dict[str, str]]:
    """Who answered as the dense engine does, our Runners, and the layouts of the dense engine and the ANN."""
    layouts: dict[str, str] = {}
    dense, layouts[DENSE] = _dense(problem)
    ann, layouts[ANN] = _quicker(problem.ann, problem.x[:1], lambda net, x: net(x))
    runners = {SPARSE: infer.compile(problem.snn), WHOLE: infer.compile(problem.snn, problem.calibrated, "int8")}
    answers: dict[str, Answer] = {name: lambda x, runner=runner: runner(x).mean(0) for name, runner in runners.items()}
    answers |= {DENSE: dense}
    rival = rivals.known[RIVAL]()
    version, reason = rival.available()
    try:
        if version is None:
            raise rivals.Unavailable(reason)
        answers[rival.impl] = _theirs(problem, rival)
        field.versions[rival.impl] = version
    except Exception as why:  # whatever foreign code raises
        field.leave_out(rival.impl, str(why) if isinstance(why, rivals.Unavailable) else f"{type(why).__name__}: {why}", told)
    answers = {name: problem.seeded(answer) for name, answer in answers.items()}
    answers[ANN] = ann
    with torch.no_grad():
        expected = answers[DENSE](problem.x[:GATED])
        passed = {name: answer for name, answer in answers.items() if field.judge(_verdict(name, answer, problem, expected), told)}
    return passed, runners, layouts


def _verdict(name: str, answer: Answer, problem: Problem, expected: Tensor) -> Verdict:
    if name in (ANN, DENSE):
        return Verdict(name, True, "the network that was converted" if name == ANN else "held to its equations by the tests")
    try:
        apart = ((answer(problem.x[:GATED]) - expected).norm() / expected.norm().clamp(min=1e-30)).item()
    except Exception as error:  # whatever foreign code raises: it is not timed, and the record says why
        return Verdict(name, False, f"raised {type(error).__name__}: {str(error).strip() or 'no message'}")
    return Verdict(name, apart <= TOLERANCE.get(name, TOLERANCE[SPARSE]), f"outputs within {apart:.2g} of the dense engine's")


def _dense(problem: Problem) -> tuple[Answer, str]:
    return _quicker(problem.snn, problem.x[:1], lambda snn, x: snn(x).mean(0))


def _quicker(module: nn.Module, sample: Tensor, call: Callable[[nn.Module, Tensor], Tensor]) -> tuple[Answer, str]:
    """`call` of the module in the layout in which it is quicker on the sample."""
    spent, answers = {}, {}
    for name, kind in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        net = copy.deepcopy(module).to(memory_format=kind)
        answers[name] = lambda x, net=net, kind=kind: call(net, x.contiguous(memory_format=kind) if x.dim() == 4 else x)
        with torch.no_grad():
            answers[name](sample)
            started = time.perf_counter()
            answers[name](sample)
            spent[name] = time.perf_counter() - started
    best = min(spent, key=spent.__getitem__)
    return answers[best], best


def _theirs(problem: Problem, rival: rivals.Rival) -> Answer:
    net, snn = rival.network(problem.snn.net), problem.snn
    total = snn.prelude + snn.steps

    def answer(x: Tensor) -> Tensor:
        return net(snn.encode(x).unflatten(0, (total, -1)).contiguous())[snn.prelude :].mean(0)

    return answer


@torch.no_grad()
def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: a row of `results` for each contender and batch; how each layer of our Runners ran, by contender."""
    with place.settled():
        problem, field = Problem(options), Field()
        answers, runners, layouts = contenders(problem, field, told)
        accuracy = {name: _accuracy(answer, problem, options) for name, answer in answers.items()}
        results = [row for batch in options.batches for row in _rows(answers, problem, batch, accuracy, place)]
        for row in results:
            row |= {"steps": 1 if row["impl"] == ANN else options.steps, "note": layouts.get(row["impl"], "")}
        constants = {"images": len(problem.labels), "data": problem.images.name, "weights": problem.weights, "loss": runners[WHOLE].loss}
        layers = {name: [row._asdict() for row in runner.explain()] for name, runner in runners.items()}
        return head("inference", asdict(options), place, field) | {"results": results, "layers": layers, "constants": constants}


def _rows(answers: dict[str, Answer], problem: Problem, batch: int, accuracy: dict[str, float], place: Place) -> list[dict[str, Any]]:
    x = problem.x[: batch * -(-SHOWN // batch)]
    parts = x.split(batch)
    runs: dict[str, Run] = {name: lambda answer=answer: [answer(part) for part in parts] for name, answer in answers.items()}
    with bar(f"{batch} in a call", place.plan.rounds * len(runs), place.show) as step:
        times = interleaved(runs, place.plan, told=step)
    theirs = rivals.known[RIVAL].impl
    return [
        {
            "impl": name, "batch": batch, "threads": place.threads, "malloc": place.malloc, "accuracy": accuracy[name],
            "ms_per_image": t.median / len(x) * 1e3, "best_ms_per_image": min(t.times.values()) / len(x) * 1e3, "rounds": len(t.times),
            "vs_ann": t.over(times[ANN]), "vs_spikingjelly": t.over(times[theirs]) if theirs in times else None,
        }
        for name, t in times.items()
    ]  # fmt: skip


def _accuracy(answer: Answer, problem: Problem, options: Options) -> float:
    """The share of right answers after all steps."""
    batches = zip(*(x.split(max(1, ROWS // options.steps)) for x in (problem.x[: len(problem.labels)], problem.labels)), strict=True)
    return statistics.fmean(float(hit) for x, labels in batches for hit in answer(x).argmax(1) == labels)


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown."""
    o, known = record["options"], record["constants"]
    columns = ["impl", "batch", "ms an image", "over the ANN", "over SpikingJelly", "accuracy", "rounds"]
    keys = ("ms_per_image", "vs_ann", "vs_spikingjelly")
    rows: list[list[object]] = [
        [row["impl"], row["batch"], *(short(row[key]) for key in keys), f"{row['accuracy']:.4f}", row["rounds"]]
        for row in record["results"]
    ]
    title = f"{o['model']} by {o['method']}, T = {o['steps']}, {record['threads']} thread(s); accuracy on {known['images']:,} test images"
    return [(title, columns, rows)]
