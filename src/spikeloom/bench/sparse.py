"""Event-driven convolutions against the quickest of torch's dense ones, over the density of random spikes, or on those of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.utils import _pair

from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, bar, head, short
from spikeloom.bench.spikes import real
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
    """layers: () for all of LAYERS; batches; densities in percent, of random spikes.

    model: "" or a network, as `spikeloom convert` takes it, whose convolutions' inputs at step `steps` take the place of all that.
    """

    layers: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 16)
    densities: tuple[int, ...] = (1, 2, 5, 10, 20, 30, 40, 50)
    model: str = ""
    data: str = ""
    method: str = "rueckauer2017"
    steps: int = 32
    data_dir: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers) or tuple(LAYERS))
        for name in self.layers:
            if name not in LAYERS:
                raise ParameterError(f"bench --layers: got {name!r}; {nearest(name, LAYERS)}")
        if min(self.batches) < 1:
            raise ParameterError(refusal("bench --batches", self.batches, "at least 1"))
        if not all(0 <= d <= 100 for d in self.densities):
            raise ParameterError(refusal("bench --densities", self.densities, "percent, from 0 to 100"))


class Cell(NamedTuple):
    """One measurement: a convolution of `spikes` `[B, C, H, W]`, whole numbers of `planes` bits. density: events per element."""

    layer: str
    spikes: Tensor
    planes: int
    density: float
    outputs: int
    kernel: tuple[int, int]
    options: tuple[Any, Any, Any, int]  # stride, padding, dilation, groups

    @property
    def name(self) -> str:
        """Of its bar and its verdict."""
        return f"{self.layer}, batch {len(self.spikes)}, {self.density:.3g}"


@torch.inference_mode()
def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: two rows of `results`, float32 and int8 weights, for each layer, batch and density."""
    field = Field()
    results: list[dict[str, Any]] = []
    with place.settled():
        for cell in _real(options) if options.model else _random(options):
            results += _measured(cell, place, field, told)
        return head("sparse", asdict(options), place, field) | {"results": results}


def _random(options: Options) -> Iterator[Cell]:
    for layer in options.layers:
        inputs, outputs, side, kernel, stride = LAYERS[layer]
        for batch in options.batches:
            for percent in options.densities:
                made = torch.Generator().manual_seed(0)
                x = (torch.rand(batch, inputs, side, side, generator=made) < percent / 100).float()
                yield Cell(layer, x, 1, percent / 100, outputs, (kernel, kernel), (stride, kernel // 2, 1, 1))


def _real(options: Options) -> Iterator[Cell]:
    for batch in options.batches:
        for read in real(options.model, options.data, options.method, options.steps, batch, options.data_dir):
            layer, x = read.layer, read.spikes
            name = f"{read.name}: {layer.in_channels}-{layer.out_channels}, {x.shape[2]}x{x.shape[3]}"
            how = layer.stride, layer.padding, layer.dilation, layer.groups
            yield Cell(name, x, read.planes, pack(x, read.planes).density(), layer.out_channels, layer.kernel_size, how)


def _measured(cell: Cell, place: Place, field: Field, told: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    runs, verdict, facts = _contenders(cell)
    if not field.judge(verdict, lambda text: None if verdict.passed else told(text)):
        return
    with bar(cell.name, place.plan.rounds * len(runs), place.show) as step:
        times = interleaved(runs, place.plan, told=step)
    best = min(DENSE, key=lambda form: times[form].median)
    for dtype in OURS:
        ours, packing = times[dtype], times[dtype + ", packing"]
        yield {
            "layer": cell.layer, "batch": len(cell.spikes), "density": cell.density, "dtype": dtype, "threads": place.threads,
            "way": facts[dtype].way, "median_ms": ours.median * 1e3, "dense_ms": times[best].median * 1e3, "dense_form": best,
            "rounds": len(ours.times), "speedup_vs_dense": 1 / ours.over(times[best]),
            "speedup_with_packing": 1 / packing.over(times[best]),
        }  # fmt: skip


def _contenders(cell: Cell) -> tuple[dict[str, Run], Verdict, dict[str, events.Choice]]:
    x, options = cell.spikes, cell.options
    last = x.contiguous(memory_format=torch.channels_last)
    made = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (cell.outputs, x.shape[1] // options[3], *cell.kernel), generator=made).float()
    runs: dict[str, Run] = _dense(x, last, weight, *options)
    bits, facts = pack(x, cell.planes), {}
    for dtype, kind in OURS.items():
        laid = events.lay(weight.to(kind), groups=options[3])
        facts[dtype] = events.explain(bits, laid, *options[:3])
        runs[dtype] = lambda laid=laid: events.conv2d(bits, laid, None, *options[:3])
        runs[dtype + ", packing"] = lambda laid=laid: events.conv2d(pack(last, cell.planes), laid, None, *options[:3])
    expected = F.conv2d(x, weight, None, *options)  # sums of whole numbers below 2^24: exact in any order
    wrong = [impl for impl, run in runs.items() if not torch.equal(run().float(), expected)]
    return runs, Verdict(cell.name, not wrong, f"{', '.join(wrong)} differ" if wrong else "all outputs equal"), facts


def _dense(x: Tensor, last: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Run]:
    """torch's forms of a dense convolution, the last with weights in the layout that oneDNN asks for."""
    kept = weight.contiguous(memory_format=torch.channels_last)
    pairs = _pair(padding), _pair(stride), _pair(dilation)
    runs: dict[str, Run] = {
        "NCHW": lambda: F.conv2d(x, weight, None, stride, padding, dilation, groups),
        "channels_last": lambda: F.conv2d(last, kept, None, stride, padding, dilation, groups),
    }
    if torch.backends.mkldnn.is_available():
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *pairs, groups, x.shape)
        call = torch.ops.mkldnn._convolution_pointwise
        runs["prepacked"] = lambda: call(last, packed, None, *pairs, groups, "none", [], "")
    else:
        runs["prepacked"] = runs["channels_last"]
    return runs


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown: a row per layer, batch and weights, a column per density; of real spikes a row each."""
    title = f"Times as fast as torch's best dense float32, {record['threads']} thread(s)"
    lines: dict[tuple[object, ...], list[object]] = {}
    if record["options"]["model"]:
        for row in record["results"]:
            key = row["layer"], row["batch"], f"{row['density']:.2%}"
            lines.setdefault(key, [*key, "", ""])[3 + list(OURS).index(row["dtype"])] = short(row["speedup_vs_dense"])
        return [(title, ["layer", "batch", "events", *OURS], list(lines.values()))]
    densities = sorted({row["density"] for row in record["results"]})
    for row in record["results"]:
        key = row["layer"], row["batch"], row["dtype"]
        lines.setdefault(key, [*key, *[""] * len(densities)])[3 + densities.index(row["density"])] = short(row["speedup_vs_dense"])
    return [(title, ["layer", "batch", "weights", *(f"{d:.0%}" for d in densities)], list(lines.values()))]
