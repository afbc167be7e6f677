"""One run on one page."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from spikeloom.core.paper import Paper
from spikeloom.report.activity import activity
from spikeloom.report.conversion import conversion, early_exit, headline, sentence
from spikeloom.report.energy import operations
from spikeloom.report.figures import figures
from spikeloom.report.layer_error import layer_errors
from spikeloom.report.learning import learning
from spikeloom.report.ledger import ledger
from spikeloom.report.markup import count, document, duration, energy, esc, note, percent, plain, section, settings, short, tiles
from spikeloom.report.record import check, mean_rate, number, put, read
from spikeloom.report.samples import samples

# what the claim's tag says about its number; a recalled or reconstructed number is not printed
VERIFIED = {
    "C": "Read in the authors' source code",
    "L": "Read in released training logs, a README or the paper's abstract",
    "N": "Computed from the paper's definitions",
}
MEASURED = {"activity": "Activity", "samples": "Images", "energy": "Energy"}
CONTENTS = {
    "training": {"learning": "Learning", **MEASURED},
    "conversion": {"conversion": "Accuracy and cost", "errors": "Layer errors", "ledger": "Passes", **MEASURED},
    "experiment": {"results": "Results"},
}
ALWAYS = {"setup": "Set-up", "cite": "Cite"}


def kind(record: dict[str, Any]) -> str:
    """`"conversion"`, `"experiment"` (a record in parts) or `"training"`."""
    return "conversion" if record.get("conversion") else "experiment" if record.get("parts") else "training"


def page(record: dict[str, Any]) -> str:
    """The HTML page of one run. Raises RecordError when `record` is not a record of this schema."""
    check(record, "record")
    title = record.get("title") or record["recipe"]
    contents = CONTENTS[kind(record)] | ALWAYS
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in contents.items())
    head = (
        f'<header><p class="kicker">spikeloom · run record</p><h1>{esc(title)}</h1>{summary(record)}'
        f'<nav aria-label="Contents">{links}</nav></header>'
    )
    foot = "<footer>Made from record.json by <code>spikeloom report</code>. This page needs no network.</footer>"
    return document(title, head + sections(record) + foot)


def write(folder: Path | str) -> Path:
    """Read `folder/record.json`, write `folder/report.html`, return its path. Raises RecordError when there is no such record."""
    folder = Path(folder)
    return put(folder / "report.html", page(read(folder)))


def summary(record: dict[str, Any]) -> str:
    """One sentence on what was run, and what was changed in the recipe (or set in the conversion)."""
    if record.get("conversion"):
        return sentence(record) + _chips(record["conversion"].get("options") or {}, "Options of the conversion")
    if kind(record) == "experiment":
        text = f"Experiment <b>{esc(record['recipe'])}</b>, seed {esc(record.get('seed'))}."
        return f'<p class="lead">{text}</p>' + _chips(record.get("overrides") or {}, "Changed in the recipe")
    data, epochs = record.get("data") or {}, len(record.get("epochs") or [])
    neuron, name = (record.get("neuron") or "a spiking network").partition("(")[0], data.get("name")
    text = f"<b>{esc(neuron)}</b>" + (f" on <b>{esc(name)}</b>" if name else "")
    text += f", T = {esc(record['steps'])}" + (f", {epochs} epoch{'s' * (epochs > 1)}" if epochs else "")
    text += f", seed {esc(record['seed'])}" if "seed" in record else ""
    changed = _chips(record.get("overrides") or {}, "Changed in the recipe")
    return f'<p class="lead">Recipe <b>{esc(record["recipe"])}</b>: {text}.</p>{changed}'


def _chips(choices: dict[str, Any], label: str) -> str:
    chips = "".join(f"<li>{esc(key)} = {esc(plain(value))}</li>" for key, value in choices.items())
    return f'<ul class="chips" aria-label="{esc(label)}">{chips}</ul>' if chips else ""


def sections(record: dict[str, Any], prefix: str = "") -> str:
    """Everything below the title; `prefix` keeps ids apart when several runs share a page."""
    measured = (activity, samples, operations)
    came_out = {
        "training": (learning, *measured),
        "conversion": (conversion, layer_errors, ledger, early_exit, *measured),
        "experiment": (figures,),
    }[kind(record)]
    parts = (*came_out, _setup, _cite)
    return _failure(record) + _headline(record) + _claim(record) + "".join(part(record, prefix) for part in parts)


def _failure(record: dict[str, Any]) -> str:
    text = record.get("failure")
    return f'<aside class="failure" role="note"><strong>Expected to fail here</strong><p>{esc(text)}</p></aside>' if text else ""


def _headline(record: dict[str, Any]) -> str:
    if kind(record) == "experiment":
        return _found(record)
    measured = headline(record) if record.get("conversion") else _accuracies(record["accuracy"])
    ours, dense = number(record.get("energy_uJ")), number(record.get("ann_energy_uJ"))
    rate = mean_rate(record)
    cost = tiles((
        ("Parameters", count(record["params"]), "learned numbers"),
        ("Time steps", count(record["steps"]), "T, passes per image"),
        ("Mean rate", "n/a" if rate is None else f"{rate:.3f}", "output per neuron and step"),
        ("Synaptic ops", short(record.get("synops_per_image")), "per image, all steps"),
        ("Energy", energy(ours), f"per image; {ours / dense:.0%} of the ReLU network" if ours is not None and dense else "per image"),
        ("Time", duration(record.get("seconds")), "for the whole run"),
    ), "small")  # fmt: skip
    return measured + cost


def _found(record: dict[str, Any]) -> str:
    """An experiment's headline: only what it measured."""
    accuracy, ours = record["accuracy"].get("test"), number(record.get("energy_uJ"))
    rows = [("Test accuracy", percent(accuracy), "see the results for the protocol and the spread")] if number(accuracy) is not None else []
    cost = [("Parameters", count(record["params"]), "learned numbers")] if record["params"] else []
    cost += [("Energy", energy(ours), "per input, estimated")] if ours is not None else []
    cost += [("Time", duration(record.get("seconds")), "for the whole experiment")]
    return (tiles(rows) if rows else "") + tiles(cost, "small")


def _accuracies(accuracy: dict[str, Any]) -> str:
    return tiles((
        ("Validated accuracy", percent(accuracy.get("validated")), "test accuracy at the epoch that the validation split picks"),
        ("Last epoch", percent(accuracy.get("last")), "test accuracy when training ended"),
        ("Best epoch", percent(accuracy.get("best")), "highest test accuracy of any epoch; picked on the test set, so optimistic"),
        ("Saved weights", percent(accuracy.get("test")), "test accuracy of the stored weights, loaded again"),
    ))  # fmt: skip


def _claim(record: dict[str, Any]) -> str:
    claim = record.get("claim")
    if not claim:
        return note("No claim of the paper is recorded for this set-up.")
    tag, value = claim.get("tag"), number(claim.get("value"))
    source = f"{claim.get('metric') or 'accuracy'}, {claim.get('where') or 'place not recorded'}"
    if tag not in VERIFIED:
        shown, why = "unverified", f"Recalled or reconstructed, not checked against the paper (tag {tag}); the number is not printed."
    elif value is None:
        shown, why = "no number", f"The paper gives none for this set-up (tag {tag})."
    else:
        shown, why = percent(value), f"{VERIFIED[tag]} (tag {tag}). Its schedule, data or size may differ from ours."
    return (
        '<aside class="claim" aria-label="The paper\'s claim"><p class="kicker">The paper\'s claim, not our measurement</p>'
        f'<span class="value">{esc(shown)}</span><div><p>{esc(source)}</p><p>{esc(why)}</p></div></aside>'
    )


def _setup(record: dict[str, Any], prefix: str) -> str:
    basics = {key: record[key] for key in ("recipe", "overrides", "neuron", "encoder", "augment", "steps", "seed") if key in record}
    made = record.get("conversion") or {}
    basics |= {key: made[key] for key in ("method", "input", "model", "options", "target") if key in made}
    groups = ("options", "network", "training", "data", "versions", "machine")
    tables = "".join(settings(record[group], group.capitalize()) for group in groups if record.get(group))
    return section(f"{prefix}setup", "Set-up", f'<div class="columns">{settings(basics, "Run")}{tables}</div>')


def _cite(record: dict[str, Any], prefix: str) -> str:
    if not record.get("paper"):
        return section(f"{prefix}cite", "Cite", note("The record names no paper."))
    paper = Paper(**{field.name: record["paper"].get(field.name) or "" for field in fields(Paper)})
    where = f"{esc(paper.authors.replace(' and ', '; '))} ({esc(paper.year)}). {esc(paper.title)}. <i>{esc(paper.venue)}</i>."
    link = f' <a href="{esc(paper.url)}">{esc(paper.url)}</a>' if paper.url.startswith(("https://", "http://")) else ""
    return section(f"{prefix}cite", "Cite", f"<p>{where}{link}</p><pre>{esc(paper.bibtex())}</pre>")
