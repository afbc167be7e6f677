"""`compile` and `run`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spikeloom.cli.terminal import Command, changes, progress, table


def add(command: Command) -> None:
    """Add the commands of this file."""
    compiling = command("compile", _compile, "Compile a spiking network for inference on a CPU, into one file.")
    compiling.add_argument("what", metavar="DIR|NAME|FILE", help="run folder; with --method what `convert` takes")
    compiling.add_argument("changes", nargs="*", metavar="key=value", help="an option of the method, as for convert")
    compiling.add_argument("--out", type=Path, required=True, help="the file, .safetensors")
    compiling.add_argument("--method", help="convert the network first; see convert")
    compiling.add_argument("--data", help="image set to calibrate on (default of a run: its own)")
    compiling.add_argument("--steps", type=int, help="T (default of a run: its own)")
    compiling.add_argument("--precision", default="float32", help="float32 or int8 (default %(default)s)")
    compiling.add_argument("--input", help="how images enter: current, poisson or rate (default: the method's)")
    compiling.add_argument("--weights", type=Path, help=".safetensors or .npz, for a recipe or a model")
    compiling.add_argument("--pixels", help="what the network takes: raw, in [0, 1], or standardised (default: as trained; files: raw)")
    compiling.add_argument("--calibration", type=int, default=1024, help="number of training images (default %(default)s)")
    compiling.add_argument("--seed", type=int, default=0, help="of the choice of these images (default %(default)s)")
    compiling.add_argument("--data-dir", help="folder with the data sets, as for train")
    running = command("run", _run, "Run a compiled network on test images: accuracy after every step, time, and how each layer ran.")
    running.add_argument("file", type=Path, metavar="FILE", help="what compile wrote")
    running.add_argument("--data", required=True, help="image set, whose test images are classified")
    running.add_argument("--data-dir", help="folder with the data sets, as for train")
    running.add_argument("--batch", type=int, default=16, help="images in a call (default %(default)s)")
    running.add_argument("--images", type=int, help="only the first so many test images")
    running.add_argument("--threads", type=int, help="default: torch's own choice")
    running.add_argument("--seed", type=int, default=0, help="of random input (default %(default)s)")
    running.add_argument("--json", type=Path, help="write what was measured here")


def _compile(chosen: argparse.Namespace) -> None:
    from spikeloom import deploy, study

    options: dict[str, Any] = changes(chosen.changes) | ({"input": chosen.input} if chosen.input else {})
    if chosen.method:
        options = study.read_options(chosen.method, options)
    runner = deploy.compiled(
        chosen.what, set_name=chosen.data, method=chosen.method, steps=chosen.steps, options=options, weights_file=chosen.weights,
        pixels=chosen.pixels, data_dir=chosen.data_dir, seed=chosen.seed, calibration=chosen.calibration, precision=chosen.precision,
        progress=progress,
    )  # fmt: skip
    runner.save(chosen.out)
    if runner.loss:
        _lost(runner.loss)
    print(f"{chosen.out}: {runner.about['name']}, T = {runner.steps}, {runner.precision}")


def _run(chosen: argparse.Namespace) -> None:
    from spikeloom import deploy, infer
    from spikeloom.train import record

    runner = infer.load(chosen.file)
    found = deploy.measured(
        runner, chosen.data, data_dir=chosen.data_dir, batch=chosen.batch, count=chosen.images, seed=chosen.seed, threads=chosen.threads,
        progress=progress,
    )  # fmt: skip
    about, steps, accuracy = found["about"], found["steps"], found["accuracy"]
    rows = [(row["name"], row["kind"], row["way"], " ".join(f"{d:.2%}" for d in row["density"]), row["reason"]) for row in found["layers"]]
    table(f"{about['name']}, {found['precision']}: how its layers ran", ("layer", "kind", "way", "density", "why"), rows)
    shown = sorted({min(2**k, steps) for k in range(steps.bit_length() + 1)})
    of = f"the first {found['images']:,} test images" if chosen.images else f"{found['images']:,} test images"
    table(f"Accuracy on {of} of {found['data']}", ("T", "accuracy"), [(t, f"{accuracy[t - 1]:.4f}") for t in shown])
    if runner.loss:
        _lost(runner.loss)
    print(f"{found['ms_per_image']:.3g} ms an image, {found['batch']} in a call, {found['threads']} thread(s)")
    if chosen.json:
        record.write(found, chosen.json)


def _lost(loss: dict[str, Any]) -> None:
    words = f"{loss['agreement']:.2%} of {loss['images']} calibration inputs get the class that they get in float32"
    print(f"int8: {words}; outputs differ by {loss['difference']:.2%} of their size")
