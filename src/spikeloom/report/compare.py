"""Several runs side by side: the rows, the page, both files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spikeloom.core.errors import RecordError
from spikeloom.report.markup import UNKNOWN, count, document, duration, energy, esc, note, percent, plain, section, short
from spikeloom.report.overlay import badge, overlays
from spikeloom.report.page import sections, summary
from spikeloom.report.record import ADVICE, check, mean_rate, number, put

ACCURACIES = ("last", "best", "validated", "test")
# heading, key of the row, how it is written
COLUMNS = (
    ("validated", "validated", percent),
    ("last", "last", percent),
    ("best", "best", percent),
    ("saved", "test", percent),
    ("parameters", "params", count),
    ("T", "steps", count),
    ("rate", "mean_rate", lambda value: "n/a" if value is None else f"{value:.3f}"),
    ("synops", "synops_per_image", short),
    ("energy", "energy_uJ", energy),
    ("with ReLU", "ann_energy_uJ", energy),
    ("time", "seconds", duration),
)
AT = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONVERTED = (
    ("method", "method", lambda value: value or UNKNOWN),
    ("ANN", "ann_accuracy", percent),
    *((f"t = {t}", f"accuracy_at_{t}", percent) for t in AT),
    ("to target", "steps_to_target", count),
)
SORT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sign = head.ariaSort === "descending" ? 1 : -1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.ariaSort = sign < 0 ? "descending" : "ascending";
  const value = row => row.cells[column].dataset.value;
  const compare = (a, b) => (a === "") - (b === "") || sign * (isNaN(a) || isNaN(b) ? -a.localeCompare(b) : a - b);
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
};
"""


def compare_rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One flat row of JSON values per run, for a table or a file; None where a record does not say.

    `last`, `best`, `validated` and `test` are accuracies (fractions of the test set); energies µJ per image; `seconds` the whole run.
    With a conversion among them, all rows also have `method`, `model_overrides`, `ann_accuracy`, `steps_to_target`, and `accuracy_at_1`,
    `_2`, `_4`, ..., those of `AT` that the longest run reaches.
    """
    rows: list[dict[str, Any]] = []
    for i, record in enumerate(records):
        check(record, f"records[{i}]")
        measured = {which: number(record["accuracy"].get(which)) for which in ACCURACIES}
        costs = {key: number(record.get(key)) for key in ("synops_per_image", "energy_uJ", "ann_energy_uJ")}
        rows.append({
            "recipe": record["recipe"], "overrides": record.get("overrides") or {}, "params": record["params"], "steps": record["steps"],
            **measured, **costs, "mean_rate": mean_rate(record), "seconds": number(record.get("seconds")), "failure": record.get("failure"),
        })  # fmt: skip
    if any(record.get("conversion") for record in records):
        longest = max(record["steps"] for record in records)
        rows = [row | _converted(record, longest) for row, record in zip(rows, records, strict=True)]
    return rows


def _converted(record: dict[str, Any], longest: int) -> dict[str, Any]:
    made, by_step = record.get("conversion") or {}, record.get("accuracy_by_step") or []
    after = {f"accuracy_at_{t}": number(by_step[t - 1]) if t <= len(by_step) else None for t in AT if t <= longest}
    model = {"method": made.get("method"), "model_overrides": made.get("model_overrides") or {}}
    return {**model, "ann_accuracy": made.get("ann_accuracy"), **after, "steps_to_target": made.get("steps_to_target")}


def comparison(records: list[dict[str, Any]]) -> str:
    """The HTML page of several runs, each with its own sections in a fold. Raises RecordError for a bad record or none at all."""
    if not records:
        raise RecordError(f"comparison: got no records; must be at least one; {ADVICE}")
    rows = compare_rows(records)
    labels = names(records)
    data = {(record.get("data") or {}).get("name") for record in records}
    title = f"{len(records)} runs compared" if len(records) > 1 else "One run"
    if len(data) == 1 and None not in data:
        title += f" on {data.pop()}"
    own = "".join(f'<a href="#run-{i}" aria-label="Run {esc(label)}">{badge(i)}</a>' for i, label in enumerate(labels, 1))
    links = f'<a href="#table">Results</a><a href="#charts">Side by side</a><a href="#differences">What differs</a><span>Runs {own}</span>'
    head = f'<header><p class="kicker">spikeloom · comparison</p><h1>{esc(title)}</h1><nav aria-label="Contents">{links}</nav></header>'
    intro = "Our own measurements on the test set."
    if not all(record.get("conversion") for record in records):
        intro += " Quote the validated column: last is where training ended, best is picked on the test set and so optimistic, "
        intro += "saved is the stored weights evaluated again."
    if any(record.get("conversion") for record in records):
        intro += " t = 1, 2, ...: accuracy of the first t steps; to target: the fewest steps that reach a conversion's target."
    table = section("table", "Results", _table(rows, labels), intro=intro)
    runs = "".join(_run(record, i, label) for i, (record, label) in enumerate(zip(records, labels, strict=True), 1))
    foot = "<footer>Made from run records by <code>spikeloom compare</code>. This page needs no network.</footer>"
    return document(title, head + table + overlays(records, rows, labels) + _differences(records, labels) + runs + foot, SORT)


def write_comparison(records: list[dict[str, Any]], folder: Path | str) -> Path:
    """Write `folder/compare.json` and `folder/report.html`; returns the page's path."""
    page = comparison(records)
    put(Path(folder) / "compare.json", json.dumps(compare_rows(records), indent=2, allow_nan=False) + "\n")
    return put(Path(folder) / "report.html", page)


def names(records: list[dict[str, Any]]) -> list[str]:
    """A short label per run: the recipe (or model, method and input of a conversion) and its overrides, numbered where two are the same."""
    changes = [[f"{key}={plain(value)}" for key, value in (record.get("overrides") or {}).items()] for record in records]
    short_names = [" ".join([_base(record), *changed]) for record, changed in zip(records, changes, strict=True)]
    return [f"{name} ({short_names[: i + 1].count(name)})" if short_names.count(name) > 1 else name for i, name in enumerate(short_names)]


def _base(record: dict[str, Any]) -> str:
    made = record.get("conversion")
    if not made:
        return record["recipe"]
    changed = [f"{key}={plain(value)}" for key, value in (made.get("model_overrides") or {}).items()]
    return " ".join([made["model"], *changed, made["method"], made["input"]])


def _columns(rows: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    """The columns of the table; with a conversion among the runs its own come first, and those that no run knows are dropped."""
    if not any(row.get("method") for row in rows):
        return list(COLUMNS)
    return [shown for shown in (*CONVERTED, *COLUMNS) if any(row.get(shown[1]) is not None for row in rows)]


def _table(rows: list[dict[str, Any]], labels: list[str]) -> str:
    columns = _columns(rows)
    heads = "".join(f'<th scope="col" class="number"><button>{esc(head)}</button></th>' for head, _, _ in columns)
    body = "".join(
        f'<tr><th scope="row" data-value="{esc(label)}"><a href="#run-{i}">{badge(i)}{esc(label)}</a>'
        + ('<br><span class="wrong">expected to fail</span>' if row["failure"] else "")
        + "</th>"
        + "".join(_cell(row[key], write) for _, key, write in columns)
        + "</tr>"
        for i, (row, label) in enumerate(zip(rows, labels, strict=True), 1)
    )
    top = f'<tr><th scope="col"><button>run</button></th>{heads}</tr>'
    return f'<div class="scroll" tabindex="0"><table class="results"><thead>{top}</thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any, write: Any) -> str:
    return f'<td class="number" data-value="{"" if value is None else esc(value)}">{esc(write(value))}</td>'


def _differences(records: list[dict[str, Any]], labels: list[str]) -> str:
    """Which settings are not the same in all runs: what the numbers above may be due to."""
    flat = [_flat(record) for record in records]
    keys = [key for key in dict.fromkeys(key for run in flat for key in run) if len({plain(run.get(key)) for run in flat}) > 1]
    if not keys:
        return section("differences", "What differs", note("All recorded settings are the same."))
    heads = "".join(f'<th scope="col">{badge(i)}</th>' for i in range(1, len(labels) + 1))
    cells = ["".join(f"<td>{esc(plain(run[key])) if key in run else ''}</td>" for run in flat) for key in keys]
    body = "".join(f'<tr><th scope="row">{esc(key)}</th>{row}</tr>' for key, row in zip(keys, cells, strict=True))
    table = f'<table><thead><tr><th scope="col">setting</th>{heads}</tr></thead><tbody>{body}</tbody></table>'
    intro = "Every recorded setting that is not the same in all runs."
    return section("differences", "What differs", f'<div class="scroll" tabindex="0">{table}</div>', intro=intro)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    named = {key: record[key] for key in ("recipe", "neuron", "encoder", "augment", "steps", "params", "seed") if key in record}
    for group in ("overrides", "network", "data", "training", "versions", "machine"):
        named |= {f"{group}.{key}": value for key, value in (record.get(group) or {}).items()}
    made = record.get("conversion") or {}
    named |= {f"conversion.{key}": made[key] for key in ("method", "input", "model", "target") if key in made}
    return named | {f"conversion.options.{key}": value for key, value in (made.get("options") or {}).items()}


def _run(record: dict[str, Any], index: int, label: str) -> str:
    title = f'<p class="title">{esc(record["title"])}</p>' if record.get("title") else ""
    head = f'<summary><h2>{badge(index)}{esc(label)}</h2></summary>{title}{summary(record)}'
    return f'<details class="run" id="run-{index}" open>{head}{sections(record, f"run-{index}-")}</details>'

