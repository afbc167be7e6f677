"""Accuracy, fidelity and cost of a conversion on the whole test set, as a record."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom import data, infer, measure
from spikeloom.convert import Converted, routes
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice, nearest
from spikeloom.core.progress import Progress, silent
from spikeloom.neurons import Neuron
from spikeloom.study.inputs import CALIBRATED, Prepare, ready
from spikeloom.study.kept import Kept
from spikeloom.study.subjects import Subject
from spikeloom.train import record
from spikeloom.train.evaluate import png
from spikeloom.train.run import read_as

SHOWN = 3  # samples
PROBED, PROBED_ROWS = 64, 8192  # images whose operations and activity are counted, and these times steps at most
COMPARED = 2048  # images times steps whose layers are held at once, to compare them with the ANN's
ROWS, COUNTED = 512, 64  # images times steps in one call, and in one that counts: what the caches hold
EXACT, ANN = 32, 250  # images in one call of the Runner, and of the ANN
PRECISION = Choice(("float32", "bfloat16"), "of the layers while accuracy is measured")


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


def written(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of a method as a record has them: plain data, paths as texts."""
    return record.plain({k: str(v) if isinstance(v, Path) else v for k, v in (options or {}).items()})


def study(
    one: Subject, method: str, set_name: str, steps: int, *, data_dir: str | None = None, target: float | None = None, seed: int = 0,
    calibration: int = CALIBRATED, options: Mapping[str, Any] | None = None, precision: str = "float32", tested: int | None = None,
    progress: Progress = silent, out: Path | None = None, resume: str = "never",
) -> dict[str, Any]:  # fmt: skip
    """Convert, measure on the test set, and return the record (docs/record.md).

    target: share of the ANN's accuracy to reach. calibration: number of training images for the rules that need data. precision:
    of the converted network while its accuracy is measured, and nowhere else: `"float32"`, by the Runner, or `"bfloat16"`, by autocast.
    tested: how many test images, the first ones; None for all. progress: told of long loops, as in `convert`.
    out: a folder for record.json, and while the test set is measured for what has been counted, with which resume `"allowed"` goes on.
    """
    started = time.perf_counter()
    PRECISION.check("convert --precision", precision)
    if target is not None and not 0 < target <= 1:
        raise ParameterError(refusal("convert --target", target, "a share in (0, 1], such as 0.99"))
    if tested is not None and tested < 1:
        raise ParameterError(refusal("convert --images", tested, "a number of at least 1", "or leave it out: the whole test set"))
    images = data.load(set_name, data_dir)
    images = dataclasses.replace(images, test_images=images.test_images[:tested], test_labels=images.test_labels[:tested])
    route = routes.load(method, options)
    asked = {
        "network": [one.name, _digest(one.net), one.pixels], "data": [images.name, images.fingerprint, len(images.test_labels)],
        "method": [method, written(options)], "steps": steps, "seed": seed, "calibration": calibration, "precision": precision,
        "versions": record.versions(),
    }  # fmt: skip
    kept = Kept(out, asked, resume) if out else None
    given = {"seed": seed, "calibration": calibration, "options": options, "progress": progress}
    snn, net, prepare, calibrated = ready(one, method, images, steps, **given)
    converted = time.perf_counter()
    dense = _ann_accuracy(net, images, prepare, progress)
    torch.manual_seed(seed)
    low = precision == "bfloat16"
    runs, size = (snn, max(ROWS // (steps + snn.prelude), 1)) if low else (infer.compile(snn), EXACT)
    tally = measure.Tally(steps)
    if kept:
        kept.restore(tally)
    batches: Iterable[Any] = _batches(images, prepare, size, tally.count)
    left = -(-(len(images.test_labels) - tally.count) // size)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        batches = kept.keeping(batches, tally) if kept else batches
        found = measure.accuracy(runs, progress(batches, left, "test set"), tally=tally)
    goal = None if target is None else found.steps_to(target * dense)
    probe = prepare(images.test_images[: min(PROBED, max(PROBED_ROWS // steps, 1))])
    cost, by_step = _cost(snn, probe, progress)
    whole = {
        **_head(one, snn, images, seed), **cost,
        "accuracy": {"last": None, "best": None, "validated": None, "test": found.by_step[-1]}, "epochs": [],
        "accuracy_by_step": found.by_step,
        "conversion": {
            "method": method, "title": route.title, "input": route.input, "model": one.name, "weights": one.weights,
            "model_overrides": dict(one.overrides), "options": written(options),
            "calibration_images": len(calibrated), "probed_images": len(probe), "ann_accuracy": dense, "precision": precision,
            "target": target, "steps_to_target": goal, "ledger": snn.ledger,
            **by_step, "early_exit": found.early,
            "seconds_to_convert": converted - started,
        },
        "samples": [_sample(snn, prepare, images, i) for i in range(min(SHOWN, len(images.test_images)))],
        "seconds": kept.seconds if kept else time.perf_counter() - started,
    }  # fmt: skip
    if kept:
        kept.finish(whole)
    return whole


def answer(found: Mapping[str, Any]) -> dict[str, Any]:
    """The flat object that `spikeloom convert --json` writes."""
    conversion = found["conversion"]
    keys = (
        "method", "model", "input", "ann_accuracy", "precision", "target", "steps_to_target", "ledger", "synops", "energy_uJ", "early_exit",
        "seconds_to_convert",
    )  # fmt: skip
    own = {key: found[key] for key in ("steps", "layers", "ann_energy_uJ", "seed", "seconds")}
    return {**{key: conversion[key] for key in keys}, "accuracy": found["accuracy_by_step"], **own}


def _digest(net: nn.Module) -> str:
    """Of the weights."""
    found = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _batches(images: data.ImageSet, prepare: Prepare, size: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(first, len(images.test_labels), size):
        rows = slice(start, start + size)
        yield prepare(images.test_images[rows]), torch.from_numpy(np.array(images.test_labels[rows]))


@torch.no_grad()
def _ann_accuracy(net: nn.Module, images: data.ImageSet, prepare: Prepare, progress: Progress) -> float:
    batches = progress(_batches(images, prepare, ANN), -(-len(images.test_labels) // ANN), "test set, ANN")
    right = sum(int((net(x).argmax(1) == labels).sum()) for x, labels in batches)
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


def _cost(snn: Converted, probe: Tensor, progress: Progress) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Keys of the record, and those of its conversion that have one number for each step, all measured on the images `probe`."""
    parts = probe.split(max(COUNTED // snn.steps, 1))
    by_step = _operations(snn, progress(parts, len(parts), "operations"))
    operations = [{**row, "acs": float(row["acs"].sum()), "analog_macs": float(row["analog_macs"].sum())} for row in by_step]
    faithful = {row["name"]: row for row in measure.fidelity(snn, probe[: max(COMPARED // snn.steps, 4)])}
    layers = [{**row, **faithful.get(row["name"], {})} for row in measure.activity(snn, progress(parts, len(parts), "activity"))]
    acs, analog = (sum(row[key] for row in by_step).cumsum(0) for key in ("acs", "analog_macs"))
    cumulative = {"synops": (acs + analog).tolist(), "energy_uJ": measure.energy_of(acs, analog).tolist()}
    return {"layers": layers, "operations": operations, **measure.energy(operations)}, cumulative


def _operations(snn: Converted, batches: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Rows of `measure.operations_by_step`, the mean over all images of the batches."""
    found = [(len(batch), measure.operations_by_step(snn, batch)) for batch in batches]
    images = sum(count for count, _ in found)
    mean = {key: lambda i, key=key: sum(n * rows[i][key] for n, rows in found) / images for key in ("acs", "analog_macs")}
    return [{**row, **{key: value(i) for key, value in mean.items()}} for i, row in enumerate(found[0][1])]


def _sample(snn: Converted, prepare: Prepare, images: data.ImageSet, index: int) -> dict[str, Any]:
    shown = measure.sample(snn, prepare(images.test_images[index : index + 1]))
    return {"image": png(np.array(images.test_images[index])), "label": int(images.test_labels[index]), **shown}
