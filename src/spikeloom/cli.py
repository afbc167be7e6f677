"""The `spikeloom` command: list, train, eval, convert, compare, report, cite, explain, demo, bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeloom.bench import command as bench
from spikeloom.convert import routes
from spikeloom.core.errors import RecipeError, SpikeloomError, refusal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a SpikeloomError becomes one line on stderr and exit status 2."""
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    # argparse leaves key=value words that follow an option behind
    if rest and hasattr(chosen, "changes") and all("=" in word and not word.startswith("-") for word in rest):
        chosen.changes = [*chosen.changes, *rest]
    elif rest:
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    try:
        if not hasattr(chosen, "malloc"):  # a benchmark does so itself, or not
            from spikeloom import tune_allocator

            tune_allocator()
        chosen.run(chosen)
    except SpikeloomError as error:
        print(f"spikeloom: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("spikeloom", description="Deep spiking neural networks: train, convert, compare, inspect.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    command("list", _list, "List the recipes with paper, data and expected minutes.")
    train = command("train", _train, "Train a recipe: weights, checkpoint and record.json in --out.")
    train.add_argument("recipe", metavar="RECIPE")
    train.add_argument("changes", nargs="*", metavar="key=value", help="override an existing field of the recipe")
    train.add_argument("--data-dir", help="folder with the data sets (else SPIKELOOM_DATA, else the Hugging Face hub)")
    train.add_argument("--out", type=Path, help="folder of the run (default runs/RECIPE)")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out, or start it")
    evaluate = command("eval", _eval, "Evaluate a run folder, or weights from a file in a recipe's network, on the test set.")
    evaluate.add_argument("what", metavar="DIR|RECIPE")
    evaluate.add_argument("changes", nargs="*", metavar="key=value")
    evaluate.add_argument("--weights", type=Path, help=".safetensors or .npz (default: the run's own)")
    evaluate.add_argument("--data-dir")
    evaluate.add_argument("--json", type=Path, help="write the evaluation here")
    convert = command("convert", _convert, "Convert a trained network into a spiking one; accuracy and energy after every number of steps.")
    convert.add_argument("what", metavar="NAME|DIR|FILE", help="zoo name, run folder, .pt2 or .onnx; or recipe or model with --weights")
    convert.add_argument("changes", nargs="*", metavar="key=value", help="an option of the method, such as reset=zero or percentile=99.99")
    convert.add_argument("--method", required=True, help=", ".join(routes.known))
    convert.add_argument("--data", required=True, help="image set: training images to calibrate on, the whole test set to measure")
    convert.add_argument("--steps", type=int, required=True, help="largest number of time steps; one pass measures all smaller ones too")
    convert.add_argument("--input", help="how images enter: current, poisson or rate (default: the method's)")
    convert.add_argument("--weights", type=Path, help=".safetensors or .npz, for a recipe or a model")
    convert.add_argument("--target", type=_share, help="report the fewest steps with this share of the ANN's accuracy, 0.99 or 99%%")
    convert.add_argument("--pixels", help="what the network takes: raw, in [0, 1], or standardised (default: as trained; files: raw)")
    convert.add_argument("--calibration", type=int, default=1024, help="number of training images to calibrate on (default %(default)s)")
    convert.add_argument("--precision", default="float32", help="of the layers while accuracy is measured: float32 or bfloat16 (autocast)")
    convert.add_argument("--seed", type=int, default=0, help="of the choice of these images, and of random input (default %(default)s)")
    convert.add_argument("--data-dir", help="folder with the data sets, as for train")
    convert.add_argument("--out", type=Path, help="folder for record.json and report.html")
    convert.add_argument("--json", type=Path, help="write the answers alone here, as one flat object")
    compare = command("compare", _compare, "Compare runs: a table here, compare.json and a page with charts in --out.")
    compare.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    compare.add_argument("--out", type=Path, default=Path("runs/compare"))
    compare.add_argument("--seeds", choices=("each", "mean"), default="each", help="mean: runs that differ in their seed alone are one row")
    compare.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here too")
    report = command("report", _report, "Write a run's page, DIR/report.html; it works offline.")
    report.add_argument("folder", type=Path, metavar="DIR")
    cite = command("cite", _cite, "Print the BibTeX of everything a recipe rests on.")
    cite.add_argument("recipe", metavar="RECIPE")
    explain = command("explain", _explain, "Say which backend each neuron of a recipe's network takes, and why.")
    explain.add_argument("recipe", metavar="RECIPE")
    explain.add_argument("changes", nargs="*", metavar="key=value")
    demo = command("demo", _demo, "Train four methods on scikit-learn's digits, compare them and write the report.")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"))
    bench.add(commands, _table)
    return parser


def _changes(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise RecipeError(refusal("override", pair, "key=value, e.g. epochs=5"))
    return dict(pair.split("=", 1) for pair in pairs)  # type: ignore[misc]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(_short, row))
    console = Console()
    Console(width=console.width if console.is_terminal else 200).print(table)


def _list(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes

    runs = [recipes.load(name) for name in recipes.known]
    rows = [
        (r.recipe, r.paper.key, getattr(r.data, "name", r.data), getattr(r, "steps", None), f"{r.minutes:g} min on {r.machine}", r.title)
        for r in runs
    ]
    _table("Recipes", ("recipe", "paper", "data", "T", "expected", "what"), rows)


def _train(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train.experiment import Experiment, perform
    from spikeloom.train.fit import fit

    changes = _changes(chosen.changes)
    run = recipes.load(chosen.recipe, changes)
    out = chosen.out or Path("runs") / chosen.recipe
    carry_out = perform if isinstance(run, Experiment) else fit
    record = carry_out(run, out, chosen.data_dir, "allowed" if chosen.resume else "never", changes)
    if record:
        found = {**record["accuracy"], **record.get("results", {})}
        came_out = ", ".join(f"{name} {_short(value)}" for name, value in found.items() if value is not None)
        print(f"{out}: {came_out}; {record['seconds']:.0f} s. See it: spikeloom report {out}")


def _eval(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train import experiment, record
    from spikeloom.train.evaluate import evaluate
    from spikeloom.train.keeper import WEIGHTS

    folder, changes, recipe, weights = Path(chosen.what), _changes(chosen.changes), chosen.what, chosen.weights
    if folder.is_dir():
        old = record.read(folder)
        changes, recipe, weights = old["overrides"] | changes, old["recipe"], weights or folder / WEIGHTS
    run = recipes.load(recipe, changes)
    experiment.refuse(run, "eval")
    if weights is None:
        raise RecipeError(refusal("eval --weights", None, "a .safetensors or .npz file", "or give a run folder instead of a recipe"))
    found = evaluate(run, weights, chosen.data_dir, changes)
    if chosen.json:
        record.write(found, chosen.json)
    cost = f"{found['synops_per_image']:.3g} operations and {found['energy_uJ']:.3g} uJ an image"
    print(f"{recipe}: test accuracy {found['accuracy']['test']:.4f}, {cost}")


def _share(text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a share such as 0.99 or 99%") from None


def _convert(chosen: argparse.Namespace) -> None:
    from rich.progress import track

    from spikeloom import report, study
    from spikeloom.train import record

    options = study.read_options(chosen.method, _changes(chosen.changes) | ({"input": chosen.input} if chosen.input else {}))
    found = study.study(
        study.subject(chosen.what, chosen.weights, chosen.pixels), chosen.method, chosen.data, chosen.steps, data_dir=chosen.data_dir,
        target=chosen.target, seed=chosen.seed, calibration=chosen.calibration, options=options, precision=chosen.precision,
        progress=lambda batches, total: track(batches, "test set", total, transient=True, disable=not sys.stderr.isatty()),
    )  # fmt: skip
    conversion = found["conversion"]
    rows = [(row["pass"], len(row["nodes"]), row["error"], row["steps"]) for row in conversion["ledger"]]
    _table("Ledger", ("pass", "nodes", "error against the ANN", "steps"), rows)
    shown = sorted({min(2**k, chosen.steps) for k in range(chosen.steps.bit_length() + 1)})
    accuracy, energy = found["accuracy_by_step"], conversion["energy_uJ"]
    _table(
        f"{found['title']} on {chosen.data}: the ANN has {conversion['ann_accuracy']:.4f} at {found['ann_energy_uJ']:.4g} uJ",
        ("T", "accuracy", "energy, uJ"), [(t, f"{accuracy[t - 1]:.4f}", energy[t - 1]) for t in shown],
    )  # fmt: skip
    if chosen.target is not None:
        goal = conversion["steps_to_target"]
        print(f"{chosen.target:.4g} of the ANN's accuracy: " + (f"T = {goal}" if goal else f"not within {chosen.steps} steps"))
    if chosen.json:
        record.write(study.answer(found), chosen.json)
    if chosen.out:
        record.write(found, chosen.out / "record.json")
        print(report.write(chosen.out))


def _compare(chosen: argparse.Namespace) -> None:
    from spikeloom import report
    from spikeloom.train import record

    records = [record.read(folder) for folder in chosen.folders]
    chosen.out.mkdir(parents=True, exist_ok=True)
    page = report.write_comparison(records, chosen.out)
    rows = report.compare_rows(records)
    if chosen.seeds == "mean":
        rows = report.over_seeds(rows)
    shown = report.shown(rows)
    _table("Comparison (test set)", shown, [[report.written(row, name) for name in shown] for row in rows])
    if chosen.markdown:
        chosen.markdown.write_text(report.markdown(rows))
    print(f"page: {page}")


def _short(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _report(chosen: argparse.Namespace) -> None:
    from spikeloom import report

    print(report.write(chosen.folder))


def _cite(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train import experiment, run

    found = recipes.load(chosen.recipe)
    papers = experiment.papers if isinstance(found, experiment.Experiment) else run.papers
    print("\n\n".join(paper.bibtex() for paper in papers(found)))


def _explain(chosen: argparse.Namespace) -> None:
    from spikeloom import engine, recipes
    from spikeloom.neurons import Neuron
    from spikeloom.train import experiment
    from spikeloom.train.run import build

    run = recipes.load(chosen.recipe, _changes(chosen.changes))
    experiment.refuse(run, "explain")
    snn = build(run)
    pairs, reason = snn.pairs()
    names = {module: name for name, module in snn.net.named_modules()}
    applied = {pair.neuron: pair.name for pair in pairs}
    rows = [(name, applied.get(m, "-"), str(m), *engine.explain(m)) for m, name in names.items() if isinstance(m, Neuron)]
    _table(f"Backends of {chosen.recipe}", ("layer", "applies norm", "neuron", "backend", "why"), rows)
    if reason:
        print(f"no neuron applies the norm before it: {reason}")


def _demo(chosen: argparse.Namespace) -> None:
    from spikeloom import recipes
    from spikeloom.train.fit import fit

    names = ("stbp-digits", "mlf-dsresnet-digits", "sew-add-digits", "plain-resnet-digits")
    for name in names:
        print(f"== {recipes.load(name).title} ({name})", flush=True)
        fit(recipes.load(name), chosen.out / name, resume="allowed")
    _compare(argparse.Namespace(folders=[chosen.out / name for name in names], out=chosen.out, seeds="each", markdown=None))


if __name__ == "__main__":
    sys.exit(main())
