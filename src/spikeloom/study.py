"""A conversion measured: one trained network, one method, one data set, one record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom import data, infer, measure, models, recipes
from spikeloom.convert import Affine, Converted, convert, files, routes
from spikeloom.convert.passes import NameModules
from spikeloom.convert.take import take
from spikeloom.core.errors import ParameterError, RecipeError, refusal
from spikeloom.core.params import Choice, nearest
from spikeloom.io import weights, zoo
from spikeloom.neurons import Neuron
from spikeloom.train import experiment, record
from spikeloom.train.evaluate import png
from spikeloom.train.keeper import WEIGHTS
from spikeloom.train.run import build, read_as

CALIBRATED, SHOWN = 1024, 3
PROBED, PROBED_ROWS = 64, 8192  # images whose operations and activity are counted, and these times steps at most
COMPARED = 2048  # images times steps whose layers are held at once, to compare them with the ANN's
ROWS, COUNTED = 512, 64  # images times steps in one call, and in one that counts: what the caches hold
EXACT = 32  # images in one call of the Runner
PRECISION = Choice(("float32", "bfloat16"), "of the layers while accuracy is measured")


@dataclass(frozen=True)
class Subject:
    """A trained network as it is named on the command line. pixels: `"raw"`, in [0, 1], or `"standardised"`, as it was trained.

    overrides: what its run had changed in the recipe.
    """

    name: str
    net: nn.Module
    pixels: str
    weights: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


def subject(what: str, weights_file: Path | None = None, pixels: str | None = None) -> Subject:
    """The network `what`: a run folder, a recipe, a model's name, a name of the zoo, or a file (`.pt2` of torch.export, `.onnx`).

    Raises RecipeError for an unknown name and for a recipe without weights.
    """
    path, kind, changed = Path(what), "raw", {}
    if path.suffix in (".pt2", ".onnx"):
        net: nn.Module = (files.load_exported if path.suffix == ".pt2" else files.load_onnx)(path)
        return Subject(path.stem, net, pixels or kind, path.name)
    if path.is_dir():
        old = record.read(path)
        changed = old["overrides"]
        run = recipes.load(old["recipe"], changed)
        weights_file = weights_file or path / WEIGHTS
    elif weights_file is None and what in (kept := zoo.cards()):
        return Subject(what, zoo.load(what), pixels or kept[what].pixels, f"zoo, sha256 {kept[what].sha256[:12]}")
    elif what in recipes.known:
        run = recipes.load(what)
    elif (function := what.replace("-", "_")) in models.known:
        return Subject(what, _filled(what, models.known[function](), weights_file), pixels or kind, _place(weights_file))
    else:
        names = [*zoo.cards(), *recipes.known, *(name.replace("_", "-") for name in models.known)]
        raise RecipeError(f"convert: got {what!r}, neither a run folder, nor a .pt2 or .onnx file, nor a name; {nearest(what, names)}")
    experiment.refuse(run, "convert")
    snn = build(run)
    raw = snn.encoder is not None and snn.encoder.domain == "raw"
    net = _filled(what, snn.net, weights_file)
    return Subject(run.recipe, net, pixels or ("raw" if raw else "standardised"), _place(weights_file), changed)


def _place(weights_file: Path | None) -> str:
    """Name and folder of a file: enough to know it by, and nothing of the machine."""
    return "/".join(weights_file.absolute().parts[-2:]) if weights_file else "none"


def _filled(what: str, net: nn.Module, weights_file: Path | None) -> nn.Module:
    if weights_file is None:
        raise RecipeError(refusal("convert --weights", None, "a .safetensors or .npz file", f"{what!r} names a network without weights"))
    weights.load(net, weights_file)
    return net.eval()


def read_options(method: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Options of a method from texts, each in the type of its present value. Raises ParameterError for an unknown one."""
    found: dict[str, Any] = {}
    # neuron and normaliser decide which other options there are
    for name in sorted(texts, key=lambda name: name not in ("neuron", "normaliser")):
        known = routes.load(method, found).options()
        if name not in known:
            raise ParameterError(f"{method}: no option {name!r}; {nearest(name, known)}")
        # None is the default of numbers only
        found[name] = read_as(f"{method}.{name}", texts[name], 0 if known[name] is None else known[name])
    return found


class Ready(NamedTuple):
    """A network converted for an image set. net: the ANN for the inputs that `prepare` makes; calibrated: inputs it was converted with."""

    snn: Converted
    net: nn.Module
    prepare: Prepare
    calibrated: Tensor


def ready(
    one: Subject, method: str, images: data.ImageSet, steps: int, *, seed: int = 0, calibration: int = CALIBRATED,
    options: Mapping[str, Any] | None = None,
) -> Ready:  # fmt: skip
    """The network converted, on training images that `seed` chooses; the arguments are those of `study`."""
    prepare = Prepare(images, routes.load(method, options).input, one.pixels)
    net = prepare.adapt(_plain(one.net, prepare(images.train_images[:2])))
    inputs = calibration_inputs(images, prepare, seed, calibration)
    torch.manual_seed(seed)
    snn = convert(net, method, inputs, steps, **(options or {}))
    return Ready(snn.to(memory_format=torch.channels_last), net, prepare, inputs)  # pools are eight times as fast, convolutions twice


def calibration_inputs(images: data.ImageSet, prepare: Callable[[np.ndarray], Tensor], seed: int, count: int) -> Tensor:
    """`count` training images that `seed` chooses, none of the validation split, as the network takes them."""
    train, _ = data.split(images.train_labels, images.validation)
    return prepare(images.train_images[np.sort(np.random.default_rng(seed).permutation(train)[:count])])


def study(
    one: Subject, method: str, set_name: str, steps: int, *, data_dir: str | None = None, target: float | None = None, seed: int = 0,
    calibration: int = CALIBRATED, options: Mapping[str, Any] | None = None, precision: str = "float32",
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Convert, measure on the whole test set, and return the record (docs/record.md).

    target: share of the ANN's accuracy to reach. calibration: number of training images for the rules that need data. precision:
    of the converted network while its accuracy is measured, and nowhere else: `"float32"`, by the Runner, or `"bfloat16"`, by autocast.
    progress: wraps the batches of the test set, given with their number.
    """
    started = time.perf_counter()
    PRECISION.check("convert --precision", precision)
    if target is not None and not 0 < target <= 1:
        raise ParameterError(refusal("convert --target", target, "a share in (0, 1], such as 0.99"))
    images = data.load(set_name, data_dir)
    route = routes.load(method, options)
    snn, net, prepare, calibrated = ready(one, method, images, steps, seed=seed, calibration=calibration, options=options)
    converted = time.perf_counter()
    dense = _ann_accuracy(net, images, prepare)
    torch.manual_seed(seed)
    low = precision == "bfloat16"
    runs, size = (snn, max(ROWS // (steps + snn.prelude), 1)) if low else (infer.compile(snn), EXACT)
    batches: Iterable[Any] = _batches(images, prepare, size)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        found = measure.accuracy(runs, progress(batches, -(-len(images.test_labels) // size)) if progress else batches)
    goal = None if target is None else found.steps_to(target * dense)
    probe = prepare(images.test_images[: min(PROBED, max(PROBED_ROWS // steps, 1))])
    cost, by_step = _cost(snn, probe)
    return {
        **_head(one, snn, images, seed), **cost,
        "accuracy": {"last": None, "best": None, "validated": None, "test": found.by_step[-1]}, "epochs": [],
        "accuracy_by_step": found.by_step,
        "conversion": {
            "method": method, "title": route.title, "input": snn.conversion.route.input, "model": one.name, "weights": one.weights,
            "model_overrides": dict(one.overrides),
            "options": record.plain({k: str(v) if isinstance(v, Path) else v for k, v in (options or {}).items()}),
            "calibration_images": len(calibrated), "probed_images": len(probe), "ann_accuracy": dense, "precision": precision,
            "target": target, "steps_to_target": goal, "ledger": snn.ledger,
            **by_step, "early_exit": found.early,
            "seconds_to_convert": converted - started,
        },
        "samples": [_sample(snn, prepare, images, i) for i in range(min(SHOWN, len(images.test_images)))],
        "seconds": time.perf_counter() - started,
    }  # fmt: skip


def answer(found: Mapping[str, Any]) -> dict[str, Any]:
    """The flat object that `spikeloom convert --json` writes."""
    conversion = found["conversion"]
    keys = (
        "method", "model", "input", "ann_accuracy", "precision", "target", "steps_to_target", "ledger", "synops", "energy_uJ", "early_exit",
        "seconds_to_convert",
    )  # fmt: skip
    own = {key: found[key] for key in ("steps", "layers", "ann_energy_uJ", "seed", "seconds")}
    return {**{key: conversion[key] for key in keys}, "accuracy": found["accuracy_by_step"], **own}


class Prepare:
    """uint8 images as the converted network takes them: in [0, 1] where spikes stand for pixels, else as the ANN was trained."""

    def __init__(self, images: data.ImageSet, given: str, pixels: str) -> None:
        Choice(("raw", "standardised")).check("convert --pixels", pixels)
        self.mean, self.std = images.mean, images.std
        self.raw = given != "current" or pixels == "raw"
        self.inside = self.raw and pixels == "standardised"

    def __call__(self, pixels: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(pixels))
        return data.normalise(tensor) if self.raw else data.normalise(tensor, self.mean, self.std)

    def adapt(self, net: nn.Module) -> nn.Module:
        """The network for such images: where they stay in [0, 1], it standardises them itself."""
        if not self.inside:
            return net
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return nn.Sequential(Affine(1 / std, -mean / std), net)


def _batches(images: data.ImageSet, prepare: Prepare, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images.test_labels), size):
        rows = slice(start, start + size)
        yield prepare(images.test_images[rows]), torch.from_numpy(np.array(images.test_labels[rows]))


def _plain(net: nn.Module, sample: Tensor) -> nn.Module:
    """The network as modules: what torch.export wrote for one size of batch takes any."""
    taken = take(net, sample)
    NameModules().run(taken)
    return taken.module


@torch.no_grad()
def _ann_accuracy(net: nn.Module, images: data.ImageSet, prepare: Prepare) -> float:
    right = sum(int((net(x).argmax(1) == labels).sum()) for x, labels in _batches(images, prepare, 250))
    return right / len(images.test_labels)


def _head(one: Subject, snn: Converted, images: data.ImageSet, seed: int) -> dict[str, Any]:
    route = snn.conversion.route
    neuron = next((str(m) for m in snn.net.modules() if isinstance(m, Neuron)), "none")
    return {
        "schema": record.SCHEMA, "recipe": one.name, "overrides": record.plain(snn.conversion.options),
        "title": f"{one.name} converted by {snn.conversion.method}", "paper": dataclasses.asdict(route.paper), "claim": None,
        "versions": record.versions(), "machine": record.machine(), "seed": seed, "steps": snn.steps, "neuron": neuron,
        "encoder": type(snn.encoder).__name__.lower(), "params": sum(p.numel() for p in snn.net.parameters()),
        "data": {"name": images.name, "test": len(images.test_labels), "classes": list(images.classes), "fingerprint": images.fingerprint},
    }  # fmt: skip


def _cost(snn: Converted, probe: Tensor) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Keys of the record, and those of its conversion that have one number for each step, all measured on the images `probe`."""
    size = max(COUNTED // snn.steps, 1)
    by_step = _operations(snn, probe.split(size))
    operations = [{**row, "acs": float(row["acs"].sum()), "analog_macs": float(row["analog_macs"].sum())} for row in by_step]
    faithful = {row["name"]: row for row in measure.fidelity(snn, probe[: max(COMPARED // snn.steps, 4)])}
    layers = [{**row, **faithful.get(row["name"], {})} for row in measure.activity(snn, probe.split(size))]
    acs, analog = (sum(row[key] for row in by_step).cumsum(0) for key in ("acs", "analog_macs"))
    cumulative = {"synops": (acs + analog).tolist(), "energy_uJ": measure.energy_of(acs, analog).tolist()}
    return {"layers": layers, "operations": operations, **measure.energy(operations)}, cumulative


def _operations(snn: Converted, batches: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Rows of `measure.operations_by_step`, the mean over all images of the batches."""
    found = [(len(batch), measure.operations_by_step(snn, batch)) for batch in batches]
    images = sum(count for count, _ in found)
    mean = {key: lambda i, key=key: sum(n * rows[i][key] for n, rows in found) / images for key in ("acs", "analog_macs")}
    return [{**row, **{key: value(i) for key, value in mean.items()}} for i, row in enumerate(found[0][1])]


def _sample(snn: Converted, prepare: Prepare, images: data.ImageSet, index: int) -> dict[str, Any]:
    shown = measure.sample(snn, prepare(images.test_images[index : index + 1]))
    return {"image": png(np.array(images.test_images[index])), "label": int(images.test_labels[index]), **shown}
