"""Networks that others wrote, converted: how the error of every layer falls with the number of steps. A measurement, not a race.

The networks are those of pytorchcv (MIT), with weights that nobody trained: random convolutions, norms whose statistics were taken on
random images and whose scales and shifts are random. Only what fixes the size of the input is replaced: the last pool takes the whole
map, and bn_vgg11, whose head wants a map of 7 x 7, has a head for the map it gets.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom import convert, measure
from spikeloom.bench.race import Field, Place, head, short
from spikeloom.convert import ConversionError, Converted
from spikeloom.convert.vocabulary import MAX_POOLS, NORMS
from spikeloom.core.errors import ParameterError, SpikeloomError, refusal
from spikeloom.core.params import nearest

# with the side of their inputs
NETS = {"resnet18": 64, "bn_vgg11": 32, "mobilenetv2_w1": 64, "densenet121": 64, "resnet20_cifar10": 32, "squeezenet_v1_0": 64}
REQUIREMENT = "pytorchcv==0.0.67"
CLASSES, STATISTICS, OCTAVES = 10, 32, 3  # images that the norms' statistics are taken on; octaves that the slope is fitted to
STEEP, APART = -0.8, 0.15  # a median slope above the first is explained; slopes that differ by the second are different
GATES = (
    "max pools: with averages in their place the slope is {other:.2f}. A gate passes the spikes of the input that leads; where two rates "
    "differ by less than 1/T it changes sides and passes spikes of both, more than either has. Such windows become rarer like 1/T, so that "
    "the norm of the error falls like the square root of 1/T"
)
TRANSIENT = (
    "still in its transient: the slope is {first:.2f} in the first of the last octaves and {last:.2f} in the last. A layer fires wrongly "
    "until the ones before it have settled, and what it has emitted wrongly stays in its count: the deeper, the later 1/T begins"
)
OPEN = "falls more slowly than 1/T; neither gates nor a transient explain it"


@dataclass(frozen=True)
class Options:
    """What is converted. nets: () for all; steps: the largest number of them, a power of two; batch: inputs, the calibration's too."""

    nets: tuple[str, ...] = ()
    steps: int = 1024
    batch: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "nets", tuple(self.nets) or tuple(NETS))
        for name in self.nets:
            if name not in NETS:
                raise ParameterError(f"bench --nets: got {name!r}; {nearest(name, NETS)}")
        if self.steps < 2 or self.steps & (self.steps - 1):
            raise ParameterError(refusal("bench --steps", self.steps, "a power of two of at least 2"))
        if self.batch < 1:
            raise ParameterError(refusal("bench --batch", self.batch, "at least 1"))


def build(name: str, seed: int = 0) -> nn.Module:
    """The network `name` as said above, in evaluation mode. Raises SpikeloomError where pytorchcv is not installed."""
    try:
        provider = importlib.import_module("pytorchcv.model_provider")
    except ImportError as error:
        raise SpikeloomError(f"bench architectures: {error}; pip install --no-deps {REQUIREMENT} requests") from error
    torch.manual_seed(seed)
    net = provider.get_model(name, num_classes=CLASSES)
    if name == "bn_vgg11":
        pixels = (NETS[name] // 32) ** 2
        net.output.fc1.fc = nn.Linear(512 * pixels, net.output.fc1.fc.out_features)
    else:
        (net.output if name.startswith("squeezenet") else net.features).final_pool = nn.AdaptiveAvgPool2d(1)
    return _filled(net, torch.randn(STATISTICS, 3, NETS[name], NETS[name]))


@torch.no_grad()
def _filled(net: nn.Module, x: Tensor) -> nn.Module:
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, NORMS):
            module.momentum = None  # the statistics of x alone
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    net.train()(x)
    return net.eval()


def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: a row of `results` for each network and each thing that can become of its max pools."""
    with place.settled() as device:
        results = []
        for name in options.nets:
            net = build(name, options.seed).to(device)
            pools = ("gate", "increase", "average") if any(isinstance(m, MAX_POOLS) for m in net.modules()) else ("none",)
            rows = [_row(net, name, kind, options, device) for kind in pools]
            for row in rows:
                row["note"] = note(row, rows)
                told(_line(row))
            results += rows
        return head("architectures", asdict(options), place, Field()) | {"results": results}


def _row(net: nn.Module, name: str, pools: str, options: Options, device: torch.device) -> dict[str, Any]:
    start = time.perf_counter()
    x = torch.randn(options.batch, 3, NETS[name], NETS[name], generator=torch.Generator().manual_seed(options.seed + 1)).to(device)
    row = {"net": name, "pools": pools, "size": NETS[name], "parameters": sum(p.numel() for p in net.parameters()), "refused": None}
    try:
        snn = convert(net, "rueckauer2017", x, options.steps, percentile=100.0, pools="gate" if pools == "none" else pools)
    except ConversionError as why:
        return {**row, "refused": str(why), "steps": [], "layers": [], "seconds": time.perf_counter() - start}
    return {**row, **faithfulness(snn, x), "seconds": time.perf_counter() - start}


def faithfulness(snn: Converted, x: Tensor) -> dict[str, Any]:
    """Errors relative to the ANN at T = 1, 2, 4 ..., of each layer and of the outputs, and how they fall: the slope of log error over
    log T in the last octaves."""
    steps = [2**k for k in range(snn.steps.bit_length())]
    with torch.no_grad(), _outputs(snn) as outputs:
        layers = measure.fidelity(snn, x)
        wanted = snn.conversion.ann.module(x)
    means = outputs[0].cumsum(0) / torch.arange(1, snn.steps + 1, device=x.device).view(-1, 1, 1)
    output = [((means[t - 1] - wanted).norm() / wanted.norm()).item() for t in steps]
    for layer in layers:
        layer["relative_error"] = [layer["relative_error"][t - 1] for t in steps]
        layer["slope"] = slope(steps, layer["relative_error"])
    last = sorted(layer["relative_error"][-1] for layer in layers)
    slopes = sorted(layer["slope"] for layer in layers)
    return {
        "steps": steps, "layers": layers, "output_error": output, "output_slope": slope(steps, output), "error": _spread(last),
        "slope": _spread(slopes),
    }  # fmt: skip


def slope(steps: list[int], errors: list[float]) -> float:
    """Least squares of log error over log T in the last octaves; -1 is 1 / T. 0 where an error is 0."""
    pairs = [(math.log(t), math.log(e)) for t, e in zip(steps, errors, strict=True) if e > 0][-OCTAVES - 1 :]
    if len(pairs) < 2:
        return 0.0
    across, up = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    return sum((a - across) * (b - up) for a, b in pairs) / sum((a - across) ** 2 for a, _ in pairs)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": values[len(values) // 2], "worst": values[-1]}


@contextmanager
def _outputs(snn: Converted) -> Iterator[list[Tensor]]:
    """Collects the outputs `[T, B, classes]` of calls made inside."""
    found: list[Tensor] = []
    handle = snn.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()


def note(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Why the errors of `row` do not fall like 1 / T, of what the `rows` of the same network show; "" where they do."""
    if row["refused"] or row["slope"]["median"] <= STEEP:
        return ""
    other = next((r for r in rows if r["pools"] == "average" and not r["refused"]), None)
    if row["pools"] == "gate" and other and other["slope"]["median"] < row["slope"]["median"] - APART:
        return GATES.format(other=other["slope"]["median"])
    curve = [sorted(errors)[len(errors) // 2] for errors in zip(*(layer["relative_error"] for layer in row["layers"]), strict=True)]
    octaves = [math.log2(b / a) for a, b in pairwise(curve[-OCTAVES - 1 :]) if a > 0 and b > 0]
    if octaves and octaves[-1] < octaves[0] - APART / 2:
        return TRANSIENT.format(first=octaves[0], last=octaves[-1])
    return OPEN


def _line(row: dict[str, Any]) -> str:
    what = f"{row['net']}, pools {row['pools']}: "
    if row["refused"]:
        return what + "refused: " + row["refused"]
    error, falls = row["error"], row["slope"]
    text = f"{len(row['layers'])} layers, error {error['median']:.2g} (worst {error['worst']:.2g}), slope {falls['median']:.2f} "
    return what + text + f"(worst {falls['worst']:.2f}), {row['seconds']:.0f} s. {row['note']}"


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown."""
    columns = ["network", "max pools", "layers", "error, median", "worst", "slope, median", "worst", "output", "slope", "seconds"]
    shown: list[list[object]] = []
    for row in record["results"]:
        line: list[object] = [row["net"], row["pools"], len(row["layers"])]
        if not row["refused"]:
            numbers = [*row["error"].values(), *row["slope"].values(), row["output_error"][-1], row["output_slope"], row["seconds"]]
            line += [short(number) for number in numbers]
        shown.append(line + [""] * (len(columns) - len(line)))
    return [(f"Errors relative to the ANN after T = {record['options']['steps']}, and their slope", columns, shown)]
