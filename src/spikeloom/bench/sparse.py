"""Event-driven convolutions against the quickest of torch's dense ones, over the density of spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, bar, head, short
from spikeloom.bench.timing import Run, interleaved
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import nearest
from spikeloom.engine import events
from spikeloom.engine.bits import pack

# input channels, output channels, side, kernel, stride: of VGGs, ResNet-20 and ResNet-18
LAYERS = {
    "64x32x32": (64, 64, 32, 3, 1), "128x16x16": (128, 128, 16, 3, 1), "256x8x8": (256, 256, 8, 3, 1), "512x4x4": (512, 512, 4, 3, 1),
    "16x32x32": (16, 16, 32, 3, 1), "32x16x16": (32, 32, 16, 3, 1), "64x8x8": (64, 64, 8, 3, 1),
    "64x56x56": (64, 64, 56, 3, 1), "64-128x56x56/2": (64, 128, 56, 3, 2), "128x28x28": (128, 128, 28, 3, 1),
    "256x14x14": (256, 256, 14, 3, 1), "256-512x14x14/2, 1x1": (256, 512, 14, 1, 2), "512x7x7": (512, 512, 7, 3, 1),
}  # fmt: skip
DENSE = ("NCHW", "channels_last", "prepacked")
OURS = {"float32": torch.float32, "int8": torch.int8}


@dataclass(frozen=True)
class Options:
    """layers: () for all of LAYERS; batches; densities in percent."""

    layers: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 16)
    densities: tuple[int, ...] = (1, 2, 5, 10, 20, 30, 40, 50)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers) or tuple(LAYERS))
        for name in self.layers:
            if name not in LAYERS:
                raise ParameterError(f"bench --layers: got {name!r}; {nearest(name, LAYERS)}")
        if min(self.batches) < 1:
            raise ParameterError(refusal("bench --batches", self.batches, "at least 1"))
        if not all(0 <= d <= 100 for d in self.densities):
            raise ParameterError(refusal("bench --densities", self.densities, "percent, from 0 to 100"))


@torch.inference_mode()
def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: two rows of `results`, float32 and int8 weights, for each layer, batch and density."""
    field = Field()
    results: list[dict[str, Any]] = []
    with place.settled():
        for layer in options.layers:
            for batch in options.batches:
                for density in options.densities:
                    results += _cell(layer, batch, density, place, field, told)
        return head("sparse", asdict(options), place, field) | {"results": results}


def _cell(layer: str, batch: int, percent: int, place: Place, field: Field, told: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    name = f"{layer}, batch {batch}, {percent} %"
    runs, verdict, facts = _contenders(layer, batch, percent / 100, name)
    if not field.judge(verdict, lambda text: None if verdict.passed else told(text)):
        return
    with bar(name, place.plan.rounds * len(runs), place.show) as step:
        times = interleaved(runs, place.plan, told=step)
    best = min(DENSE, key=lambda form: times[form].median)
    for dtype in OURS:
        ours, packing = times[dtype], times[dtype + ", packing"]
        yield {
            "layer": layer, "batch": batch, "density": percent / 100, "dtype": dtype, "threads": place.threads, "way": facts[dtype].way,
            "median_ms": ours.median * 1e3, "dense_ms": times[best].median * 1e3, "dense_form": best, "rounds": len(ours.times),
            "speedup_vs_dense": 1 / ours.over(times[best]), "speedup_with_packing": 1 / packing.over(times[best]),
        }  # fmt: skip


def _contenders(layer: str, batch: int, density: float, name: str) -> tuple[dict[str, Run], Verdict, dict[str, events.Choice]]:
    inputs, outputs, side, kernel, stride = LAYERS[layer]
    made = torch.Generator().manual_seed(0)
    x = (torch.rand(batch, inputs, side, side, generator=made) < density).float()
    last = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randint(-127, 128, (outputs, inputs, kernel, kernel), generator=made).float()
    options = stride, kernel // 2
    runs: dict[str, Run] = _dense(x, last, weight, *options)
    bits, facts = pack(x), {}
    for dtype, kind in OURS.items():
        laid = events.lay(weight.to(kind))
        facts[dtype] = events.explain(bits, laid, *options)
        runs[dtype] = lambda laid=laid: events.conv2d(bits, laid, None, *options)
        runs[dtype + ", packing"] = lambda laid=laid: events.conv2d(pack(last), laid, None, *options)
    expected = F.conv2d(x, weight, None, *options)  # sums of whole numbers below 2^24: exact in any order
    wrong = [impl for impl, run in runs.items() if not torch.equal(run().float(), expected)]
    return runs, Verdict(name, not wrong, f"{', '.join(wrong)} differ" if wrong else "all outputs equal"), facts


def _dense(x: Tensor, last: Tensor, weight: Tensor, stride: int, padding: int) -> dict[str, Run]:
    """torch's forms of a dense convolution, the last with weights in the layout that oneDNN asks for."""
    kept = weight.contiguous(memory_format=torch.channels_last)
    pairs = (padding, padding), (stride, stride), (1, 1)
    runs: dict[str, Run] = {
        "NCHW": lambda: F.conv2d(x, weight, None, stride, padding),
        "channels_last": lambda: F.conv2d(last, kept, None, stride, padding),
    }
    if torch.backends.mkldnn.is_available():
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *pairs, 1, x.shape)
        call = torch.ops.mkldnn._convolution_pointwise
        runs["prepacked"] = lambda: call(last, packed, None, *pairs, 1, "none", [], "")
    else:
        runs["prepacked"] = runs["channels_last"]
    return runs


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown: a row per layer, batch and weights, a column per density."""
    densities = sorted({row["density"] for row in record["results"]})
    lines: dict[tuple[object, ...], list[object]] = {}
    for row in record["results"]:
        key = row["layer"], row["batch"], row["dtype"]
        lines.setdefault(key, [*key, *[""] * len(densities)])[3 + densities.index(row["density"])] = short(row["speedup_vs_dense"])
    columns = ["layer", "batch", "weights", *(f"{d:.0%}" for d in densities)]
    return [(f"Times as fast as torch's best dense float32, {record['threads']} thread(s)", columns, list(lines.values()))]
