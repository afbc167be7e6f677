"""Conversions side by side, alone and beside a trained network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spikeloom import report
from spikeloom.report.compare import names


@pytest.fixture
def records(conversions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without layers and operations, so that few charts are drawn."""
    return [{**record, "layers": [], "operations": []} for record in conversions]


def heads(html: str) -> list[str]:
    return re.findall(r"<button>([^<]*)</button>", html)


def test_rows_gain_what_the_conversions_say(records: list[dict[str, Any]]) -> None:
    first, second, trained = report.compare_rows(records)
    assert [row["method"] for row in (first, second, trained)] == ["diehl2015-data", "rate-max", None]
    assert [row["ann_accuracy"] for row in (first, second, trained)] == [0.985, 0.99, None]
    assert [row["steps_to_target"] for row in (first, second, trained)] == [32, None, None]
    assert first["accuracy_at_8"] == pytest.approx(0.62)  # 0.5 + 8 x 0.015
    assert [first["accuracy_at_64"], first["accuracy_at_128"], second["accuracy_at_128"]] == [0.98, None, 0.98]
    assert trained["accuracy_at_4"] == records[2]["accuracy_by_step"][3]
    assert trained["accuracy_at_8"] is None
    assert first["test"] == 0.98
    assert "accuracy_at_256" not in first
    assert first.keys() == second.keys() == trained.keys()


def test_rows_of_trained_networks_stay_as_they_were(records: list[dict[str, Any]]) -> None:
    assert not {"method", "ann_accuracy", "steps_to_target", "accuracy_at_1"} & report.compare_rows(records[2:])[0].keys()


def test_the_table_of_conversions_drops_what_none_has(records: list[dict[str, Any]]) -> None:
    alone = heads(report.comparison(records[:1]))
    assert alone[:4] == ["run", "method", "ANN", "t = 1"]
    assert alone[10:12] == ["to target", "saved"]
    assert "validated" not in alone
    mixed = heads(report.comparison(records))
    assert {"validated", "last", "best", "saved", "t = 128", "to target"} <= set(mixed)


def test_the_page_of_a_mixed_comparison(conversions: list[dict[str, Any]], outline: Any) -> None:
    mixed = report.comparison(conversions)
    found = outline(mixed)
    assert not found.open
    assert len(found.ids) == len(set(found.ids))
    assert {"run-1-conversion", "run-2-ledger", "run-3-learning"} <= set(found.ids)
    assert not {"run-1-learning", "run-3-conversion"} & set(found.ids)
    assert "Quote the validated column" in found.words
    bars, steps = (re.search(rf'id="accuracy-{name}">.*?</figure>', mixed, re.S)[0] for name in ("energy", "steps"))
    assert "accuracy (test)" in bars  # the one that all three have
    assert "the ANNs before conversion, 98.50%, 99.00%." in steps
    assert re.findall(r"<text[^>]*>(\d+)</text>", steps) == ["1", "2", "4", "8", "16", "32", "64", "128"]
    assert steps.count("stroke: var(--muted)") == 2


def test_labels_and_differences_name_the_method(records: list[dict[str, Any]]) -> None:
    assert names(records)[:2] == ["diehl2015-cnn diehl2015-data poisson", "diehl2015-cnn rate-max poisson"]
    assert names([records[0], records[0]])[1] == "diehl2015-cnn diehl2015-data poisson (2)"
    records[1]["conversion"]["options"] = {"percentile": 99.0, "reset": "subtract"}
    table = re.search(r'id="differences".*?</section>', report.comparison(records[:2]), re.S)[0]
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == [
        "steps", "conversion.method", "conversion.target", "conversion.options.percentile",
    ]  # fmt: skip


def test_compare_json_holds_the_rows(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    report.write_comparison(records, tmp_path)
    assert json.loads((tmp_path / "compare.json").read_text()) == report.compare_rows(records)
