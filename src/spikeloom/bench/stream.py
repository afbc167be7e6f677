"""A real stream: recordings of an event camera, bin after bin, through a trained network of integrators, as they would arrive."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import spikeloom
from spikeloom import measure, recipes
from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, head, short
from spikeloom.bench.timing import Plan
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.data import counts, known, recordings
from spikeloom.data.events import frames
from spikeloom.infer import Runner
from spikeloom.io import weights
from spikeloom.nn.snn import SNN
from spikeloom.train import Run, build
from spikeloom.train.fit import weights_file

RECIPE, OURS, DENSE = "nmnist-1k", "spikeloom-sparse", "spikeloom-dense"
WARM = 2  # recordings that `interleaved` streams before it measures
TOLERANCE = 1e-2  # of the summed outputs: sums are rounded in another order, which may move a spike to the next bin
COUNTED, BATCH = 20, 20  # recordings whose operations are counted; in a batch, where nothing is timed


@dataclass(frozen=True)
class Options:
    """weights: of the recipe, a file, a run folder or a name of the zoo. recordings: of the test set, from the first. bin_us: of a step."""

    weights: str = RECIPE
    recordings: int = 100
    bin_us: int = 1000
    data_dir: str | None = None

    def __post_init__(self) -> None:
        card = known[recipes.load(RECIPE).data.name]
        for name, value, most in (("recordings", self.recordings, card.test), ("bin-us", self.bin_us, card.recordings.span)):  # type: ignore[union-attr]
            if not 1 <= value <= most:
                raise ParameterError(refusal(f"bench --{name}", value, f"from 1 to {most}"))


class Feed:
    """A contender: each call streams the next recording. `seconds` `[recordings, T]` of each step, `answers` at the end of each stream."""

    def __init__(self, stream: Callable[[], Callable[[Tensor], Tensor]], images: Tensor) -> None:
        self.stream, self.images = stream, images
        self.seconds: list[list[float]] = []
        self.answers: list[int] = []

    def __call__(self) -> None:
        at = (len(self.answers) - WARM) % len(self.images)
        steps, stream, clock = counts(self.images[at : at + 1]), self.stream(), time.perf_counter
        total, seconds = torch.zeros(()), []
        for x in steps:
            start = clock()
            y = stream(x)
            seconds.append(clock() - start)
            total = total + y
        self.seconds.append(seconds)
        self.answers.append(int(total.argmax(1)))


@torch.inference_mode()
def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: a row of `results` for each contender, the accuracies, and the operations that silence saves."""
    run, field = recipes.load(RECIPE), Field()
    with place.settled():
        snn = build(run).eval()
        weights.load(snn.net, weights_file(options.weights))
        steps = known[run.data.name].recordings.span // options.bin_us  # type: ignore[union-attr]
        coarse, labels = _images(run, run.steps, options)
        fine, _ = _images(run, steps, options)
        trained = measure.accuracy(snn, _batches(coarse, labels)).by_step[-1]
        snn.steps = steps
        runner = spikeloom.compile(snn)
        feeds = {OURS: Feed(runner.stream, fine), DENSE: Feed(snn.stream, fine)}
        for verdict in (_same(runner, snn, fine[:1]), Verdict(DENSE, True, "held to the reference loop by the tests")):
            field.judge(verdict, told)
        rounds = len(fine)
        field.race(feeds, place, "streaming", Plan(rounds=rounds, least=rounds, budget=1e9, sample=0.0))
        results = [_row(impl, feed, feeds[DENSE], labels, options, place) for impl, feed in feeds.items()]
        work = _work(runner, snn, fine[:COUNTED])
    trained_in = {"steps": run.steps, "accuracy": trained}
    events = int(fine.sum()) / len(fine) / steps
    found = {"results": results, "trained_in": trained_in, "events_per_step": events, "work": work}
    return head("stream", asdict(options) | {"steps": steps}, place, field) | found


def _images(run: Run, steps: int, options: Options) -> tuple[Tensor, Tensor]:
    """Counts uint8 `[N, steps, 2, side, side]` of the first test recordings, and labels."""
    card = known[run.data.name]
    found = recordings.events(card, recordings.find(card, options.data_dir), "test")
    pairs = [pair for pair, _ in zip(found, range(options.recordings), strict=False)]
    cut = [frames(events, steps, run.data.frames, card.side, card.recordings.span) for events, _ in pairs]  # type: ignore[union-attr]
    return torch.from_numpy(np.stack(cut)), torch.tensor([label for _, label in pairs])


def _batches(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(counts(x), y) for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)]


def _same(runner: Runner, snn: SNN, images: Tensor) -> Verdict:
    """One recording, step by step: the summed outputs of both."""
    ours, dense = runner.stream(), snn.stream()
    found, wanted = (torch.stack([stream(x) for x in counts(images)]).sum(0) for stream in (ours, dense))
    apart = float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))
    return Verdict(OURS, apart <= TOLERANCE, f"summed outputs of a recording within {apart:.1e} of the dense engine's")


def _row(impl: str, feed: Feed, unit: Feed, labels: Tensor, options: Options, place: Place) -> dict[str, Any]:
    seconds = np.array(feed.seconds[WARM:])
    per_recording = seconds.sum(1)
    ratio = statistics.median(np.array(unit.seconds[WARM:]).sum(1) / per_recording)
    right = float((torch.tensor(feed.answers[WARM:]) == labels).float().mean())
    return {
        "impl": impl, "malloc": place.malloc, "steps_per_second": seconds.size / float(seconds.sum()),
        "median_ms": float(np.median(seconds)) * 1e3, "p95_ms": float(np.percentile(seconds, 95)) * 1e3,
        "times_real_time": options.bin_us * 1e-6 * seconds.size / float(seconds.sum()),
        "speedup_vs_dense": float(ratio), "accuracy": right, "recordings": len(seconds),
    }  # fmt: skip


def _work(runner: Runner, snn: SNN, images: Tensor) -> dict[str, Any]:
    """Shares of the dense network's synaptic operations. idle: their input is silent; skipped: and the Runner did not do them."""
    layers: dict[str, dict[str, float]] = {}
    for image in images.split(1):
        x = counts(image)
        counted, stream = measure.operations_by_step(snn, x), runner.stream()
        for t, x_t in enumerate(x):
            stream(x_t)
            ways = [not row.reason for row in runner.explain() if row.density]
            for layer, sparse in zip(counted, ways, strict=True):
                done = float(layer["acs"][t] + layer["analog_macs"][t])
                into = layers.setdefault(layer["name"], {"dense": 0.0, "needed": 0.0, "done": 0.0})
                for key, value in (("dense", layer["macs"]), ("needed", done), ("done", done if sparse else layer["macs"])):
                    into[key] += value
    rows = [{"layer": name, "share": row["dense"] / _sum(layers, "dense"), **_shares([row])} for name, row in layers.items()]
    per_step = {key: _sum(layers, key) / len(images) / snn.steps for key in ("dense", "needed", "done")}
    return {**_shares(list(layers.values())), "operations_per_step": per_step, "layers": rows, "recordings": len(images)}


def _sum(layers: dict[str, dict[str, float]], key: str) -> float:
    return sum(row[key] for row in layers.values())


def _shares(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    dense, needed, done = (sum(row[key] for row in rows) for key in ("dense", "needed", "done"))
    return {"idle": 1 - needed / dense, "skipped": 1 - done / dense}


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown."""
    o, work = record["options"], record["work"]
    keys = ("steps_per_second", "median_ms", "p95_ms", "times_real_time", "speedup_vs_dense")
    shown: list[list[object]] = [[row["impl"], *(short(row[key]) for key in keys), f"{row['accuracy']:.1%}"] for row in record["results"]]
    title = f"{o['recordings']} recordings in {o['steps']} bins of {o['bin_us']:,} us, batch 1, {record['threads']} thread(s)"
    coarse = f"trained in {record['trained_in']['steps']} bins, where its accuracy is {record['trained_in']['accuracy']:.1%}"
    idle: list[list[object]] = [
        [row["layer"], f"{row['share']:.1%}", f"{row['idle']:.2%}", f"{row['skipped']:.2%}"]
        for row in (*work["layers"], {"layer": "all", "share": 1.0, **work})
    ]
    return [
        (f"{title}; {coarse}", ["impl", "steps/s", "ms a step", "95 %", "times real time", "over dense", "accuracy"], shown),
        ("Synaptic operations of a dense step", ["layer", "share", "idle", "skipped"], idle),
    ]
