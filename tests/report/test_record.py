"""Reading records: what is refused and how, and the small quantities drawn from them."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from spikeloom import report
from spikeloom.core.errors import RecordError
from spikeloom.report.record import column, mean_rate, number, put

COMMAND = re.escape("spikeloom train RECIPE --out DIR")


def test_a_missing_file_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=rf"{re.escape(str(tmp_path / 'record.json'))}: no such file; expected a run record.*{COMMAND}"):
        report.write(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\x00", '{"schema": 1'])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordError, match=rf"record\.json: cannot be read as JSON.*{COMMAND}"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").mkdir()
    with pytest.raises(RecordError, match=r"record\.json: cannot be read as JSON"):
        report.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": None}, "schema: got None; must be 1"),
        ({"schema": 0}, "schema: got 0; must be 1"),
        ({"schema": True}, "schema: got True; must be 1"),
        ({"schema": "1"}, "schema: got '1'; must be 1"),
        ({"schema": 2}, "schema: got 2; must be 1; a newer spikeloom wrote it: update spikeloom"),
        ({"accuracy": None}, "accuracy: got 'NoneType'; must be a JSON object"),
        ({"accuracy": 0.9}, "accuracy: got 'float'; must be a JSON object"),
        ({"training": []}, "training: got 'list'; must be a JSON object"),
        ({"epochs": {}}, "epochs: got 'dict'; must be a JSON list"),
        ({"layers": [{"name": "a"}]}, r"layers\[0\]: missing neurons, rate, silent, saturated, dormant"),
        ({"operations": [3]}, r"operations\[0\]: got 'int'; must be a JSON object"),
        ({"samples": [{"image": "", "label": 0, "prediction": 0, "layers": [{}]}]}, r"samples\[0\].layers\[0\]: missing name, neurons"),
        ({"paper": {"key": "x"}}, r"paper: missing title, authors, venue, year"),
    ],
)
def test_a_bad_record_is_refused(tmp_path: Path, bare: dict[str, Any], change: dict[str, Any], message: str) -> None:
    (tmp_path / "record.json").write_text(json.dumps({**bare, **change}))
    with pytest.raises(RecordError, match=rf"record\.json: {message}.*{COMMAND}"):
        report.read(tmp_path)


def test_missing_fields_are_listed() -> None:
    missing = "recipe, params, steps, accuracy"
    with pytest.raises(RecordError, match=rf"record: missing {missing}; expected a run record of schema 1; .*{COMMAND}"):
        report.page({"schema": 1})
    with pytest.raises(RecordError, match="record: got 'list'; must be a JSON object"):
        report.page([])  # type: ignore[arg-type]


def test_read_takes_the_folder_or_the_file(tmp_path: Path, bare: dict[str, Any]) -> None:
    (tmp_path / "record.json").write_text(json.dumps(bare))
    assert report.read(tmp_path) == report.read(tmp_path / "record.json") == bare


def test_write_leaves_one_page_and_no_temporary_file(tmp_path: Path, bare: dict[str, Any]) -> None:
    (tmp_path / "record.json").write_text(json.dumps(bare))
    (tmp_path / "report.html").write_text("old")
    path = report.write(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == report.page(bare)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["record.json", "report.html"]


def test_a_failed_write_keeps_the_old_page(tmp_path: Path) -> None:
    put(tmp_path / "a.html", "old")
    with pytest.raises(UnicodeEncodeError):
        put(tmp_path / "a.html", "new \udc80")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_mean_rate_weighs_layers_by_their_neurons(bare: dict[str, Any]) -> None:
    layers = [{"neurons": 300, "rate": 0.1}, {"neurons": 100, "rate": 0.5}, {"neurons": 50, "rate": None}]
    assert mean_rate({**bare, "layers": layers}) == pytest.approx(0.2)  # (30 + 50) / 400
    assert mean_rate(bare) is None


def test_unknown_numbers_become_none_or_nan() -> None:
    assert [number(value) for value in (1, 0.5, None, "2", math.nan, math.inf)] == [1, 0.5, None, None, None, None]
    values = column([{"a": 1}, {}, {"a": None}], "a")
    assert values[0] == 1
    assert math.isnan(values[1]) and math.isnan(values[2])


def test_report_imports_only_core_and_matplotlib() -> None:
    allowed = set(sys.stdlib_module_names) | {"matplotlib"}
    for file in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in found:
                ours = name.startswith(("spikeloom.core", "spikeloom.report"))
                assert ours or name.split(".")[0] in allowed, f"{file.name} imports {name}"
                assert "pyplot" not in name
