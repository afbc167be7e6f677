"""Several runs: rows, page, files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spikeloom import report
from spikeloom.core.errors import RecordError
from spikeloom.report.compare import names
from spikeloom.report.overlay import DASHES, letter, look

OVERLAYS = ["accuracy-energy", "accuracy-curves", "loss-curves", "accuracy-steps", "rates-depth"]


def test_rows_hold_what_the_records_say(runs: list[dict[str, Any]]) -> None:
    rows = report.compare_rows(runs)
    for row, record in zip(rows, runs, strict=True):
        for which, value in record["accuracy"].items():
            assert row[which] == value
        for key in ("recipe", "overrides", "params", "steps", "synops_per_image", "energy_uJ", "ann_energy_uJ", "seconds", "failure"):
            assert row[key] == record[key]
        rates = [layer["rate"] for layer in record["layers"]]
        assert min(rates) < row["mean_rate"] < max(rates)


def test_unknown_values_are_none_in_rows(bare: dict[str, Any]) -> None:
    bare["accuracy"] = {"last": float("nan")}
    row = report.compare_rows([bare])[0]
    assert row["last"] is None
    assert row["mean_rate"] is None
    assert row["energy_uJ"] is None
    assert row["overrides"] == {}


def test_bad_records_are_named_by_their_place(runs: list[dict[str, Any]]) -> None:
    runs[1]["schema"] = 7
    with pytest.raises(RecordError, match=r"records\[1\]: schema: got 7; must be 1"):
        report.compare_rows(runs)
    with pytest.raises(RecordError, match="got no records; must be at least one; make one with `spikeloom train"):
        report.comparison([])


def test_the_page_has_the_overlays_and_every_run_with_all_its_charts(comparison: str, outline: Any) -> None:
    found = outline(comparison)
    assert found.charts[:5] == OVERLAYS
    own = [name.split("-", 2) for name in found.charts[5:]]
    assert [sum(run == str(i) for _, run, _ in own) for i in (1, 2, 3)] == [14, 14, 14]
    assert {"run-1", "run-2", "run-3"} <= set(found.ids)
    assert comparison.count('class="failure"') == 1


def test_the_table_shows_the_rows(runs: list[dict[str, Any]], comparison: str) -> None:
    body = re.search(r'<table class="results">.*?<tbody>(.*?)</tbody>', comparison, re.S)[1]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    assert len(lines) == 3
    for line, row in zip(lines, report.compare_rows(runs), strict=True):
        cells = re.findall(r'<td class="number" data-value="([^"]*)">([^<]*)</td>', line)
        assert cells[0] == (str(row["validated"]), f"{100 * row['validated']:.2f}%")
        assert cells[4] == ("272395", "272,395")
    assert ["expected to fail" in line for line in lines] == [False, False, True]


def test_the_paper_is_never_in_the_table_of_results(comparison: str) -> None:
    table = re.search(r'<table class="results">.*?</table>', comparison, re.S)[0]
    assert "91.37" not in table
    assert comparison.count("91.37%") == 3  # each run's own box


def test_only_what_differs_is_listed(comparison: str) -> None:
    table = re.search(r'id="differences".*?</section>', comparison, re.S)[0]
    settings = re.findall(r'<th scope="row">([^<]*)</th>', table)
    assert settings == ["neuron", "seed", "overrides.levels"]


def test_runs_that_do_not_differ_and_bare_runs_are_survived(bare: dict[str, Any], outline: Any) -> None:
    found = outline(report.comparison([bare, dict(bare)]))
    assert "All recorded settings are the same." in found.words
    assert "No run recorded accuracy and energy, test accuracy per epoch" in found.words
    assert found.charts == []


def test_labels_tell_runs_apart(bare: dict[str, Any]) -> None:
    other = {**bare, "overrides": {"levels": 2, "loss": "tet"}}
    assert names([bare, other, dict(bare)]) == ["bare (1)", "bare levels=2 loss=tet", "bare (2)"]


def test_letters_and_looks_do_not_run_out() -> None:
    assert [letter(i) for i in (1, 26, 27, 53)] == ["A", "Z", "A1", "A2"]
    looks = [(look(i)["color"], look(i)["linestyle"]) for i in range(1, 6 * len(DASHES) + 1)]
    assert len(set(looks)) == len(looks)


def test_text_of_the_records_is_escaped(bare: dict[str, Any], outline: Any) -> None:
    evil = "<script>alert(1)</script>"
    html = report.comparison([{**bare, "recipe": evil, "title": evil, "overrides": {evil: evil}, "failure": evil, "data": {"name": evil}}])
    assert html.count("<script") == 1  # the table's own
    assert not outline(html).open


def test_write_comparison_writes_both_files(tmp_path: Path, bare: dict[str, Any]) -> None:
    records = [bare, {**bare, "steps": 2}]
    path = report.write_comparison(records, tmp_path / "new")
    assert path == tmp_path / "new" / "report.html"
    assert path.read_text(encoding="utf-8") == report.comparison(records)
    assert json.loads((path.parent / "compare.json").read_text()) == report.compare_rows(records)
    assert len(list(path.parent.iterdir())) == 2
