"""`spikeloom bench WHAT`: options, the table, the files. Imports nothing heavy until one of them runs."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from spikeloom.core.errors import ParameterError, SpikeloomError, refusal

Table = Callable[[str, list[str], list[list[object]]], None]
# benchmarks with a file of their own
OWN = {
    "conversion": "conversion", "architectures": "architectures", "timing": "relpsp", "stdp": "stdp", "sparse": "sparse",
    "inference": "inference", "stream": "stream",
}  # fmt: skip


def add(commands: Any, table: Table) -> None:
    """Add the command to the subparsers `commands`; `table(title, columns, rows)` prints."""
    text = "Time neurons, layers and networks against a plain copy and other libraries; nothing that fails its gate is timed."
    kinds = commands.add_parser("bench", help=text, description=text).add_subparsers(required=True, metavar="WHAT")

    def kind(name: str, text: str) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        sub.set_defaults(run=lambda chosen: _run(chosen, table), what=name)
        return sub

    neuron = kind("neuron", "A neuron on [T, N]: forward, and forward with backward.")
    neuron.add_argument("--neuron", default="LIF", metavar="NAME|FILE.py:CLASS")
    neuron.add_argument("--steps", type=int, default=16, metavar="T")
    neuron.add_argument("--neurons", type=int, default=2**21, metavar="N")
    neuron.add_argument("--dtype", default="float32", help="float32, float64, bfloat16 or float16")
    neuron.add_argument("--first-use", choices=("yes", "no"), default="yes", help="time the first call with an empty and a filled cache")
    layer = kind("layer", "A training step of convolution, norm and neuron.")
    layer.add_argument("--channels", type=_numbers, default=(64,), metavar="C")
    layer.add_argument("--side", type=int, default=32, help="height and width of the map")
    network = kind("network", "A training step of a network: forward, loss and backward, without the optimiser.")
    network.add_argument("--model", default="ds_resnet20", help="ds_resnet20, stbp_cnn or vgg6")
    network.add_argument("--channels", type=_numbers, default=(), metavar="C,C,C", help="of the stages; () for the model's")
    for sub in (layer, network):
        sub.add_argument("--neuron", default="LIF", metavar="NAME", help='in place of the model\'s neurons; "own" keeps them')
        sub.add_argument("--batch", type=int, default=32, metavar="B")
        sub.add_argument("--steps", type=int, default=4, metavar="T")
        sub.add_argument("--precision", choices=("32", "bf16"), default="32")
        sub.add_argument("--channels-last", choices=("yes", "no"), default="no")
        sub.add_argument("--data", default="", help="image set to take images from (default: random numbers)")
        sub.add_argument("--data-dir", help="folder with the data sets, as for train")
        sub.add_argument("--updates", type=int, default=0, metavar="N", help="of the weights, on its images, before a step is timed")
        sub.add_argument("--reference", choices=("yes", "no"), default="no", help="run our reference loop too")
        sub.add_argument("--peak", choices=("yes", "no"), default="yes", help="peak memory, each in a process of its own")
        sub.add_argument("--where", choices=("yes", "no"), default="yes", help="shares of convolution, norm, neuron and rest")
    conversion = kind("conversion", "Converting a trained network, and running what came of it.")
    conversion.add_argument("--net", default="vgg", help="vgg or resnet: models.ann_vgg, models.ann_resnet")
    conversion.add_argument("--weights", metavar="FILE", help="trained ones, .safetensors or .npz (default: random)")
    conversion.add_argument("--method", default="rueckauer2017", help="whose time to convert is taken")
    conversion.add_argument("--channels", type=_numbers, default=(), metavar="C,C,C", help="of the stages; () for the model's")
    conversion.add_argument("--calibration", type=int, default=1024, metavar="N", help="images to convert with")
    conversion.add_argument("--steps", type=int, default=32, metavar="T")
    conversion.add_argument("--batches", type=_numbers, default=(16, 64), metavar="B,B", help="images in a call; each takes its fastest")
    stdp = kind("stdp", "Diehl and Cook's network while it learns, against Brian 2.")
    stdp.add_argument("--neurons", type=int, default=100, metavar="N", help="excitatory cells")
    stdp.add_argument("--images", type=int, default=100, help="in one call of ours; theirs takes one")
    stdp.add_argument("--targets", type=_names, default=("cython", "numpy"), metavar="NAME,NAME", help="what Brian 2 generates")
    nets = kind("architectures", "The error of every layer of six networks of pytorchcv over the number of steps; no times.")
    nets.add_argument("--nets", type=_names, default=(), metavar="NAME,NAME", help="() for all six")
    nets.add_argument("--steps", type=int, default=1024, metavar="T", help="the largest, a power of two")
    nets.add_argument("--batch", type=int, default=2, metavar="B", help="inputs")
    nets.add_argument("--seed", type=int, default=0)
    nets.set_defaults(rounds=1, budget=0.0, malloc="tuned")
    times = kind("timing", "Layers of spike times (ReL-PSP): forward with backward, the kernel against plain torch.")
    times.add_argument("--shapes", type=_names, default=("784-800", "800-10", "1x28x28-16x5", "16x12x12-32x5"), metavar="IN-OUT,...")
    times.add_argument("--batch", type=int, default=128, metavar="B", help="images")
    times.add_argument("--active", type=float, default=1.0, metavar="SHARE", help="of the inputs that spike")
    sparse = kind("sparse", "Event-driven convolutions against torch's dense ones, over the density of spikes.")
    sparse.add_argument("--layers", type=_layers, default=(), metavar="NAME;NAME", help="such as 64x32x32; () for all")
    sparse.add_argument("--batches", type=_numbers, default=(1, 16), metavar="B,B")
    sparse.add_argument("--densities", type=_numbers, default=(1, 2, 5, 10, 20, 30, 40, 50), metavar="D,D", help="percent")
    sparse.add_argument("--model", default="", help="real spikes: those of a network, as `spikeloom convert` takes it, on test images")
    sparse.add_argument("--data", default="", help="its image set; a network of the zoo names its own")
    sparse.add_argument("--data-dir", help="folder with the data sets, as for train")
    sparse.add_argument("--method", default="rueckauer2017", help="it is converted by")
    sparse.add_argument("--steps", type=int, default=32, metavar="T", help="the step whose spikes are taken")
    inference = kind("inference", "A converted network on real images: our Runner, our dense engine, SpikingJelly, and the ANN itself.")
    inference.add_argument("--model", default="ann-vgg-cifar10", help="what `spikeloom convert` takes")
    inference.add_argument("--weights", metavar="FILE", help="for a model: .safetensors or .npz")
    inference.add_argument("--data", default="", help="image set; a network of the zoo names its own")
    inference.add_argument("--data-dir", help="folder with the data sets, as for train")
    inference.add_argument("--method", default="rueckauer2017")
    inference.add_argument("--steps", type=int, default=64, metavar="T")
    inference.add_argument("--batches", type=_numbers, default=(1, 16), metavar="B,B", help="images in a call")
    inference.add_argument("--images", type=int, default=256, help="test images for the accuracy, the first ones")
    inference.add_argument("--calibration", type=int, default=1024, metavar="N", help="training images to convert with")
    stream = kind("stream", "An event camera's recordings, bin after bin, through the network of nmnist-1k: Runner and dense engine.")
    stream.add_argument("--weights", default="nmnist-1k", metavar="FILE|DIR|NAME", help="of that recipe; a file, a run, or in the zoo")
    stream.add_argument("--recordings", type=int, default=100, metavar="N", help="of the test set, each streamed once")
    stream.add_argument("--bin-us", type=int, default=1000, metavar="US", help="microseconds of a bin, which is a step")
    stream.add_argument("--data-dir", help="folder with the data sets, as for train")
    stream.set_defaults(rounds=1, budget=0.0, malloc="tuned")
    for sub in (neuron, layer, network, conversion, stdp, nets, times, sparse, inference, stream):
        sub.add_argument("--threads", type=int, default=1)
        sub.add_argument("--device", default="cpu")
        sub.add_argument("--json", type=Path, metavar="FILE", help="write the record")
        sub.add_argument("--chart", type=Path, metavar="FILE", help="draw it: .svg, .png or .pdf (default: beside the record)")
    for sub in (neuron, layer, network, conversion, stdp, times, sparse, inference):
        sub.add_argument("--rounds", type=int, default=9)
        sub.add_argument("--budget", type=float, default=60.0, help="seconds per contender and pass; a slower one joins fewer rounds")
        sub.add_argument("--malloc", choices=("tuned", "untuned", "both"), default="tuned", help="both: each in a process of its own")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _layers(text: str) -> tuple[str, ...]:
    return tuple(text.split(";"))


def _run(chosen: argparse.Namespace, table: Table) -> None:
    from spikeloom.bench import chart
    from spikeloom.train.record import write

    drawn = chosen.chart or (chosen.json.with_suffix(".svg") if chosen.json else None)
    if drawn:
        chart.check(drawn)
    if chosen.rounds < 1:
        raise ParameterError(refusal("bench --rounds", chosen.rounds, "a whole number of at least 1"))
    record = _both(chosen) if chosen.malloc == "both" else _measure(chosen)
    if chosen.json:
        write(record, chosen.json)
    if drawn:
        chart.write(record, drawn)
    _show(record, table)
    for path in filter(None, (chosen.json, drawn)):
        print(path)


def _own(what: str) -> Any:
    """The module of a benchmark that is not one of neurons and networks; it has `Options`, `bench` and `tables`."""
    return import_module(f"spikeloom.bench.{OWN[what]}") if what in OWN else None


def _measure(chosen: argparse.Namespace) -> dict[str, Any]:
    from spikeloom.bench import child, network, neuron
    from spikeloom.bench.race import Place
    from spikeloom.bench.timing import Plan

    place = Place(chosen.device, chosen.threads, _malloc(chosen.malloc), Plan(rounds=chosen.rounds, budget=chosen.budget))
    module = _own(chosen.what) or (neuron if chosen.what == "neuron" else network)
    given = {f.name: getattr(chosen, f.name) for f in fields(module.Options) if hasattr(chosen, f.name)}
    if _own(chosen.what):
        return module.bench(module.Options(**given), place)
    if chosen.what == "neuron":
        record = neuron.bench(neuron.Options(**given), place)
        # a neuron that falls back to the loop has nothing to compile
        compiled = chosen.first_use == "yes" and chosen.device == "cpu"
        return record | {"first_use_s": child.first_use(chosen.neuron, chosen.dtype) if compiled else None}
    if chosen.what == "layer":
        given["model"] = "layer"
    return network.bench(network.Options(**given), place, what=chosen.what)


def _malloc(asked: str) -> str:
    from spikeloom import tune_allocator

    return tune_allocator() if asked == "tuned" else asked


def _both(chosen: argparse.Namespace) -> dict[str, Any]:
    """Tuning cannot be undone in a process: one process with and one without, and one record of both."""
    import json

    words = [w for name, value in vars(chosen).items() if name not in _OWN and value not in (None, ()) for w in _word(name, value)]
    records = []
    with tempfile.TemporaryDirectory(prefix="spikeloom-bench-") as folder:
        for malloc in ("tuned", "untuned"):
            path = Path(folder) / f"{malloc}.json"
            call = [sys.executable, "-m", "spikeloom.cli", "bench", chosen.what, *words, "--malloc", malloc, "--json", str(path)]
            answer = subprocess.run(call, stdout=subprocess.DEVNULL, check=False)
            if answer.returncode:
                raise SpikeloomError(f"bench --malloc both: the {malloc} run failed; its message is above")
            records.append(json.loads(path.read_text()))
    results = [row for record in records for row in record["results"]]
    return {**records[0], "malloc": "both", "results": results, "runs": records}


_OWN = ("run", "what", "malloc", "json", "chart")


def _word(name: str, value: Any) -> list[str]:
    return [f"--{name.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def _show(record: dict[str, Any], table: Table) -> None:
    own = _own(record["bench"])
    if own:
        for shown in own.tables(record):
            table(*shown)
    else:
        _show_race(record, table)
    if record["left_out"]:
        table("Left out", ["impl", "why"], [[entry["impl"], entry["reason"]] for entry in record["left_out"]])


def _show_race(record: dict[str, Any], table: Table) -> None:
    from spikeloom.bench.chart import title
    from spikeloom.bench.race import short

    neuron = record["bench"] == "neuron"
    columns = ["impl", "pass", "malloc", "median ms", "over a copy", "rounds", "saved B"]
    columns += [] if neuron else ["over ReLU", "saved MiB", "peak MiB"]
    shown: list[list[object]] = []
    for row in record["results"]:
        line = [row["impl"], row["pass"], row["malloc"], short(row["median_ms"]), short(row["vs_copy"]), row["rounds"]]
        line += [short(row["saved_bytes_per_element_step"])]
        line += [] if neuron else [short(row[key]) for key in ("vs_relu", "saved_mib", "peak_mib")]
        shown.append(line)
    table(title(record), columns, shown)
    if neuron:
        calls = [[impl, *(f"{v:.1f}" for v in spent.values())] for impl, spent in record["overhead_us"].items()]
        table(f"One call on {record['overhead_shape']}, microseconds", ["impl", *next(iter(record["overhead_us"].values()))], calls)
        if record.get("first_use_s"):
            print("first use: " + ", ".join(f"{when} {seconds:.2f} s" for when, seconds in record["first_use_s"].items()))
