"""`list`, `train`, `eval`, `demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from spikeloom.cli import inspect
from spikeloom.cli.terminal import Command, changes, short, table
from spikeloom.core.errors import RecipeError, refusal


def add(command: Command) -> None:
    """Add the commands of this file."""
    command("list", _list, "List the recipes with paper, data and expected minutes.")
    train = command("train", _train, "Train a recipe: weights, checkpoint and record.json in --out.")
    train.add_argument("recipe", metavar="RECIPE")
    train.add_argument("changes", nargs="*", metavar="key=value", help="override an existing field of the recipe")
    train.add_argument("--data-dir", help="folder with the data sets (else SPIKELOOM_DATA, else the Hugging Face hub)")
    train.add_argument("--out", type=Path, help="folder of the run (default runs/RECIPE)")
    train.add_argument("--weights", help="begin with these: a file, a run folder, or a name of the zoo (default: fresh weights)")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out, or start it")
    evaluate = command("eval", _eval, "Evaluate a run folder, or weights from a file in a recipe's network, on the test set.")
    evaluate.add_argument("what", metavar="DIR|RECIPE")
    evaluate.add_argument("changes", nargs="*", metavar="key=value")
    evaluate.add_argument("--weights", type=Path, help=".safetensors or .npz (default: the run's own)")
    evaluate.add_argument("--data-dir")
    evaluate.add_argument("--json", type=Path, help="write the evaluation here")
    demo = command("demo", _demo, "Train four methods on scikit-learn's digits, compare them and write the report.")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"))


def _list(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes

    runs = [recipes.load(name) for name in recipes.known]
    rows = [
        (r.recipe, r.paper.key, getattr(r.data, "name", r.data), getattr(r, "steps", None), f"{r.minutes:g} min on {r.machine}", r.title)
        for r in runs
    ]
    table("Recipes", ("recipe", "paper", "data", "T", "expected", "what"), rows)


def _train(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train.experiment import Experiment, perform
    from spikeloom.train.fit import fit

    changed = changes(chosen.changes)
    run = recipes.load(chosen.recipe, changed)
    out = chosen.out or Path("runs") / chosen.recipe
    given = (out, chosen.data_dir, "allowed" if chosen.resume else "never", changed)
    if isinstance(run, Experiment):
        if chosen.weights:
            raise RecipeError(refusal("train --weights", chosen.weights, "none", f"{chosen.recipe} is an experiment, which makes its own"))
        record = perform(run, *given)
    else:
        record = fit(run, *given, start=chosen.weights)
    if record:
        found = {**record["accuracy"], **record.get("results", {})}
        came_out = ", ".join(f"{name} {short(value)}" for name, value in found.items() if value is not None)
        print(f"{out}: {came_out}; {record['seconds']:.0f} s. See it: spikeloom report {out}")


def _eval(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train import experiment, record
    from spikeloom.train.evaluate import evaluate
    from spikeloom.train.keeper import WEIGHTS

    folder, changed, recipe, weights = Path(chosen.what), changes(chosen.changes), chosen.what, chosen.weights
    if folder.is_dir():
        old = record.read(folder)
        changed, recipe, weights = old["overrides"] | changed, old["recipe"], weights or folder / WEIGHTS
    run = recipes.load(recipe, changed)
    experiment.refuse(run, "eval")
    if weights is None:
        raise RecipeError(refusal("eval --weights", None, "a .safetensors or .npz file", "or give a run folder instead of a recipe"))
    found = evaluate(run, weights, chosen.data_dir, changed)
    if chosen.json:
        record.write(found, chosen.json)
    cost = f"{found['synops_per_image']:.3g} operations and {found['energy_uJ']:.3g} uJ an image"
    print(f"{recipe}: test accuracy {found['accuracy']['test']:.4f}, {cost}")


def _demo(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train.fit import fit

    names = ("stbp-digits", "mlf-dsresnet-digits", "sew-add-digits", "plain-resnet-digits")
    for name in names:
        print(f"== {recipes.load(name).title} ({name})", flush=True)
        fit(recipes.load(name), chosen.out / name, resume="allowed")
    inspect.compare(argparse.Namespace(folders=[chosen.out / name for name in names], out=chosen.out, seeds="each", markdown=None))
