"""Runners of named networks: what `spikeloom compile` makes and `spikeloom run` measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom import data, infer, measure, recipes, study
from spikeloom.core.errors import DataError, ParameterError, RecipeError, refusal
from spikeloom.core.params import nearest
from spikeloom.core.progress import Progress, silent
from spikeloom.infer import Runner
from spikeloom.io import weights
from spikeloom.neurons import Neuron
from spikeloom.train import experiment, record
from spikeloom.train.keeper import WEIGHTS
from spikeloom.train.run import Run, build

BATCH = 16


def compiled(
    what: str, *, set_name: str | None = None, method: str | None = None, steps: int | None = None,
    options: Mapping[str, Any] | None = None, weights_file: Path | None = None, pixels: str | None = None, data_dir: str | None = None,
    seed: int = 0, calibration: int = study.CALIBRATED, precision: str = "float32", progress: Progress = silent,
) -> Runner:  # fmt: skip
    """A Runner of a spiking network that was trained (a run folder, or a recipe with weights), or, with a `method`, of one converted.

    set_name: image set to calibrate on; of a trained network by default its own. steps: T, of a trained network by default its own. Other
    arguments as in `study.subject` and `study.study`. Its `about` says which images it takes. Raises RecipeError for what is neither.
    """
    if method is None:
        if options or pixels:
            given = dict(options or {}, pixels=pixels)
            raise RecipeError(refusal("compile", given, "given with --method", "what was trained to spike has its own"))
        return _trained(what, weights_file, set_name, steps, data_dir, seed, calibration, precision)
    for name, value in (("data", set_name), ("steps", steps)):
        if value is None:
            raise RecipeError(refusal(f"compile --{name}", None, "given with --method", "a conversion needs images and a number of steps"))
    one, images = study.subject(what, weights_file, pixels), data.load(set_name, data_dir)  # type: ignore[arg-type]
    more = {"seed": seed, "calibration": calibration, "options": options, "progress": progress}
    made = study.ready(one, method, images, steps, **more)  # type: ignore[arg-type]
    runner = infer.compile(made.snn, made.calibrated, precision)
    kind = {"method": method, "options": study.written(options)}
    runner.about = {"name": one.name, "weights": one.weights, **kind, **_takes(images, made.prepare.raw)}
    return runner


def _trained(
    what: str, weights_file: Path | None, set_name: str | None, steps: int | None, data_dir: str | None, seed: int, calibration: int,
    precision: str,
) -> Runner:  # fmt: skip
    run, file = _run(what, weights_file)
    snn = build(run)
    if not any(isinstance(module, Neuron) for module in snn.net.modules()):
        raise RecipeError(f"compile: {what!r} has no spiking neurons; convert it: give --method, --steps and --data")
    weights.load(snn.net, file)
    if steps is not None:
        snn.steps = steps
    images = data.load(set_name or run.data.name, data_dir, run.data.frames, snn.steps)
    raw = snn.encoder is not None and snn.encoder.domain == "raw"
    takes = _takes(images, raw) | {"frames": run.data.frames}
    inputs = study.calibration_inputs(images, _preparation(takes), seed, calibration)
    runner = infer.compile(snn.eval(), inputs, precision)
    runner.about = {"name": run.recipe, "weights": "/".join(file.absolute().parts[-2:]), "method": None, **takes}
    return runner


def _run(what: str, weights_file: Path | None) -> tuple[Run, Path]:
    folder = Path(what)
    if folder.is_dir():
        old = record.read(folder)
        if old["recipe"] not in recipes.known:
            raise RecipeError(f"compile: {what} holds the record of {old['title']!r} and no weights; compile the network with --method")
        run, weights_file = recipes.load(old["recipe"], old["overrides"]), weights_file or folder / WEIGHTS
    elif what in recipes.known:
        run = recipes.load(what)
    else:
        advice = f"nor a recipe; {nearest(what, recipes.known)}; a network that does not spike needs --method"
        raise RecipeError(f"compile: got {what!r}, neither a run folder {advice}")
    experiment.refuse(run, "compile")
    if weights_file is None:
        raise RecipeError(refusal("compile --weights", None, "a .safetensors or .npz file", "or give a run folder instead of a recipe"))
    return run, weights_file


def _takes(images: data.ImageSet, raw: bool) -> dict[str, Any]:
    """What `_preparation` and `_fits` need to know of the images of a Runner."""
    return {
        "data": images.name, "classes": list(images.classes), "shape": list(images.test_images.shape[1:]),
        "pixels": "raw" if raw else "standardised", "mean": list(images.mean), "std": list(images.std),
    }  # fmt: skip


def _preparation(takes: Mapping[str, Any]) -> Callable[[np.ndarray], Tensor]:
    """uint8 images `[B, C, H, W]`, or frames of recordings `[B, T, C, H, W]`, as a Runner takes them."""
    if takes.get("frames", "none") != "none":
        return lambda frames: data.counts(torch.from_numpy(np.array(frames)))
    units = () if takes["pixels"] == "raw" else (tuple(takes["mean"]), tuple(takes["std"]))
    return lambda pixels: data.normalise(torch.from_numpy(np.array(pixels)), *units)


class _Timed:
    """A Runner and the seconds it takes."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.steps, self.seconds = runner, runner.steps, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        started = time.perf_counter()
        y = self.runner(x)
        self.seconds += time.perf_counter() - started
        return y


def measured(
    runner: Runner, set_name: str, *, data_dir: str | None = None, batch: int = BATCH, count: int | None = None, seed: int = 0,
    threads: int | None = None, progress: Progress = silent,
) -> dict[str, Any]:  # fmt: skip
    """Accuracy after every step, milliseconds per image, and how each layer ran, on test images in batches.

    count: of the first test images; None for all. seed: of random input. threads: None for torch's own number.
    progress: as in `convert`. Raises DataError for images of another shape than the Runner's.
    """
    for name, value in (("batch", batch), ("images", count), ("threads", threads)):
        if value is not None and value < 1:
            raise ParameterError(refusal(f"run --{name}", value, "a whole number of at least 1"))
    images = data.load(set_name, data_dir, runner.about.get("frames", "none"), runner.steps)
    shape, labels = list(images.test_images.shape[1:]), images.test_labels[:count]
    if "shape" not in runner.about:
        raise DataError("run: this Runner's file does not say which images it takes; write it with `spikeloom compile`")
    if shape != runner.about["shape"]:
        raise DataError(refusal(f"run --data {set_name}", shape, f"images of {runner.about['shape']}, as {runner.about['data']}"))
    prepare, timed = _preparation(runner.about), _Timed(runner)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(labels), batch):
            rows = slice(start, start + batch)
            yield prepare(images.test_images[rows][: len(labels) - start]), torch.from_numpy(np.array(labels[rows]))

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        runner(next(batches())[0])  # compiles the kernels
        torch.manual_seed(seed)
        found = measure.accuracy(timed, progress(batches(), -(-len(labels) // batch), "test set"))  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(before)
    return {
        "about": runner.about, "precision": runner.precision, "loss": runner.loss, "steps": runner.steps, "data": images.name,
        "images": len(labels), "batch": batch, "threads": threads or before, "machine": record.machine(),
        "accuracy": found.by_step, "ms_per_image": timed.seconds / len(labels) * 1e3, "layers": [row._asdict() for row in runner.explain()],
    }  # fmt: skip
