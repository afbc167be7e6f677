"""`compare`, `report`, `cite`, `explain`."""

from __future__ import annotations

import argparse
from pathlib import Path

from spikeloom.cli.terminal import Command, changes, table


def add(command: Command) -> None:
    """Add the commands of this file."""
    comparison = command("compare", compare, "Compare runs: a table here, compare.json and a page with charts in --out.")
    comparison.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    comparison.add_argument("--out", type=Path, default=Path("runs/compare"))
    comparison.add_argument("--seeds", choices=("each", "mean"), default="each", help="mean: runs with other seeds alone are one row")
    comparison.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here too")
    report = command("report", _report, "Write a run's page, DIR/report.html; it works offline.")
    report.add_argument("folder", type=Path, metavar="DIR")
    cite = command("cite", _cite, "Print the BibTeX of everything a recipe rests on.")
    cite.add_argument("recipe", metavar="RECIPE")
    explain = command("explain", _explain, "Say which backend each neuron of a recipe's network takes, and how each layer works; and why.")
    explain.add_argument("recipe", metavar="RECIPE")
    explain.add_argument("changes", nargs="*", metavar="key=value", help="engine=auto or engine=sparse: also shows the layers, on images")
    explain.add_argument("--images", type=int, default=32, metavar="N", help="that the layers are shown on")
    explain.add_argument("--weights", type=Path, metavar="DIR", help="of a trained run, for its densities; default: fresh ones")
    explain.add_argument("--data-dir", metavar="DIR", help="where the images are")


def compare(chosen: argparse.Namespace) -> None:
    """Print and write the comparison of `chosen.folders`."""
    from spikeloom import report
    from spikeloom.train import record

    records = [record.read(folder) for folder in chosen.folders]
    chosen.out.mkdir(parents=True, exist_ok=True)
    page = report.write_comparison(records, chosen.out)
    rows = report.compare_rows(records)
    if chosen.seeds == "mean":
        rows = report.over_seeds(rows)
    shown = report.shown(rows)
    table("Comparison (test set)", shown, [[report.written(row, name) for name in shown] for row in rows])
    if chosen.markdown:
        chosen.markdown.write_text(report.markdown(rows))
    print(f"page: {page}")


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

    run = recipes.load(chosen.recipe, changes(chosen.changes))
    experiment.refuse(run, "explain")
    snn = build(run)
    pairs, reason = snn.pairs()
    names = {module: name for name, module in snn.net.named_modules()}
    applied = {pair.neuron: pair.name for pair in pairs}
    rows = [(name, applied.get(m, "-"), str(m), *engine.explain(m)) for m, name in names.items() if isinstance(m, Neuron)]
    table(f"Backends of {chosen.recipe}", ("layer", "applies norm", "neuron", "backend", "why"), rows)
    if reason:
        print(f"no neuron applies the norm before it: {reason}")
    if run.engine != "dense":
        from spikeloom.train.ways import ways

        shown = [
            (name, forward, backward, pulled, *("-" if share is None else f"{share:.1%}" for share in (density, windows)), why)
            for name, forward, backward, density, why, pulled, windows in ways(run, chosen.images, chosen.weights, chosen.data_dir)
        ]
        columns = "layer", "output", "weights' gradient", "input's gradient", "events", "open windows", "why not by events"
        table(f"Layers of {chosen.recipe}, engine={run.engine!r}", columns, shown)
