"""`convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from spikeloom.cli.terminal import Command, changes, progress, table
from spikeloom.convert import routes
from spikeloom.core.errors import ParameterError, refusal


def add(command: Command) -> None:
    """Add the command of this file."""
    convert = command("convert", _convert, "Convert a trained network into a spiking one; accuracy and energy after every number of steps.")
    convert.add_argument("what", metavar="NAME|DIR|FILE", help="zoo name, run folder, .pt2 or .onnx; or recipe or model with --weights")
    convert.add_argument("changes", nargs="*", metavar="key=value", help="an option of the method, such as reset=zero or percentile=99.99")
    convert.add_argument("--method", required=True, help=", ".join(routes.known))
    convert.add_argument("--data", required=True, help="image set: training images to calibrate on, test images to measure")
    convert.add_argument("--steps", type=int, required=True, help="largest number of time steps; one pass measures all smaller ones too")
    convert.add_argument("--input", help="how images enter: current, poisson or rate (default: the method's)")
    convert.add_argument("--weights", type=Path, help=".safetensors or .npz, for a recipe or a model")
    convert.add_argument("--target", type=_share, help="report the fewest steps with this share of the ANN's accuracy, 0.99 or 99%%")
    convert.add_argument("--pixels", help="what the network takes: raw, in [0, 1], or standardised (default: as trained; files: raw)")
    convert.add_argument("--calibration", type=int, default=1024, help="number of training images to calibrate on (default %(default)s)")
    convert.add_argument("--images", type=int, help="only the first so many test images")
    convert.add_argument("--precision", default="float32", help="while accuracy is measured: float32 (compiled) or bfloat16 (autocast)")
    convert.add_argument("--seed", type=int, default=0, help="of the choice of these images, and of random input (default %(default)s)")
    convert.add_argument("--data-dir", help="folder with the data sets, as for train")
    convert.add_argument("--out", type=Path, help="folder for record.json and report.html")
    convert.add_argument("--resume", action="store_true", help="go on with the measurement in --out that was stopped, or start it")
    convert.add_argument("--json", type=Path, help="write the answers alone here, as one flat object")


def _convert(chosen: argparse.Namespace) -> None:
    from spikeloom import report, study
    from spikeloom.train import record

    if chosen.resume and not chosen.out:
        raise ParameterError(refusal("convert --resume", "no --out", "the folder of the measurement that was stopped"))
    options = study.read_options(chosen.method, changes(chosen.changes) | ({"input": chosen.input} if chosen.input else {}))
    found = study.study(
        study.subject(chosen.what, chosen.weights, chosen.pixels), chosen.method, chosen.data, chosen.steps, data_dir=chosen.data_dir,
        target=chosen.target, seed=chosen.seed, calibration=chosen.calibration, options=options, precision=chosen.precision,
        tested=chosen.images, out=chosen.out, resume="allowed" if chosen.resume else "never", progress=progress,
    )  # fmt: skip
    conversion = found["conversion"]
    rows = [(row["pass"], len(row["nodes"]), row["error"], row["steps"]) for row in conversion["ledger"]]
    table("Ledger", ("pass", "nodes", "error against the ANN", "steps"), rows)
    shown = sorted({min(2**k, chosen.steps) for k in range(chosen.steps.bit_length() + 1)})
    accuracy, energy = found["accuracy_by_step"], conversion["energy_uJ"]
    where = f"{found['data']['test']:,} test images of {chosen.data}"
    table(
        f"{found['title']} on {where}: the ANN has {conversion['ann_accuracy']:.4f} at {found['ann_energy_uJ']:.4g} uJ",
        ("T", "accuracy", "energy, uJ"), [(t, f"{accuracy[t - 1]:.4f}", energy[t - 1]) for t in shown],
    )  # fmt: skip
    if chosen.target is not None:
        goal = conversion["steps_to_target"]
        print(f"{chosen.target:.4g} of the ANN's accuracy: " + (f"T = {goal}" if goal else f"not within {chosen.steps} steps"))
    if chosen.json:
        record.write(study.answer(found), chosen.json)
    if chosen.out:
        print(report.write(chosen.out))


def _share(text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a share such as 0.99 or 99%") from None
