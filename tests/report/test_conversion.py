"""The page of a converted network, and conversions in a comparison; the numbers are those that `converted` in conftest names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from spikeloom import report
from spikeloom.core.errors import RecordError
from spikeloom.report.conversion import points, powers
from spikeloom.report.ledger import span

CHARTS = ["accuracy-by-step", "energy-by-step", "operations-by-step", "accuracy-against-energy", "error-by-step", "error-at-the-end"]
SECTIONS = ["conversion", "errors", "ledger", "exit"]
NAMES = ["stem.neuron", "blocks.0.neuron1", "blocks.0.neuron2", "blocks.1.neuron1", "blocks.1.neuron2"]


def words(record: dict[str, Any], outline: Any) -> str:
    return outline(report.page({**record, "samples": [], "layers": [], "operations": []})).words


def svg(html: str, name: str) -> str:
    return re.search(rf'<figure class="chart" id="{name}">.*?</figure>', html, re.S)[0]


def rows(html: str, section: str) -> list[list[str]]:
    body = re.search(rf'<section id="{section}">.*?<tbody>(.*?)</tbody>', html, re.S)[1]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]
    return [[re.sub("<[^>]*>", " ", cell).strip() for cell in row] for row in cells]


def test_the_sections_take_the_place_of_learning(converted_page: str, outline: Any) -> None:
    found = outline(converted_page)
    assert found.charts[:8] == [*CHARTS, "rates", "shares"]
    assert [name for name in found.ids if name in (*SECTIONS, "learning")] == SECTIONS
    assert not found.open
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for _, _, link in found.links if link.startswith("#")} <= set(found.ids)
    assert all(value.startswith(("#", "data:", "https://arxiv.org/")) for _, _, value in found.links)


def test_the_sentence_says_what_was_converted_how_and_after_whom(conversion: dict[str, Any], outline: Any) -> None:
    text = words(conversion, outline)
    assert "diehl2015-cnn converted by diehl2015-data (Diehl et al. 2015), input as poisson , T = 64, on Fashion-MNIST , seed 3." in text
    assert "percentile = 99.9 reset = subtract" in text
    conversion["paper"]["authors"] = "Li, Yang and Zeng, Yi"
    assert "(Li and Zeng 2015)" in words(conversion, outline)
    assert "diehl2015-data , input as" in words({**conversion, "paper": None}, outline)


def test_headline(conversion: dict[str, Any], outline: Any) -> None:
    conversion["conversion"]["energy_uJ"] = [2.0 * t for t in range(1, 65)]
    conversion["ann_energy_uJ"] = 33.8
    text = words(conversion, outline)
    assert "Spiking accuracy 98.00% of the converted network on 10,000 test images, after T = 64" in text
    assert "ANN accuracy 98.50%" in text
    assert "Loss, points 0.50" in text
    assert "Steps to target T = 32 smallest T with 99% of the ANN's accuracy, 97.5" in text
    assert "Energy at T = 32 64.0 µJ per image; the ANN 33.8 µJ" in text
    assert "exceeded from t = 17 on" in text.replace("\u00a0", " ")  # 2 x 17 = 34 is the first above 33.8


def test_a_target_that_is_missed_and_none_at_all(conversion: dict[str, Any], outline: Any) -> None:
    conversion["conversion"] |= {"target": 0.999, "steps_to_target": None, "energy_uJ": [2.0] * 64}
    text = words(conversion, outline)
    assert "Steps to target not reached smallest T with 99.9% of the ANN's accuracy, 98.40%; not within T = 64" in text
    assert "Energy at T = 64 2.00 µJ" in text
    assert "The target, 99.9% of that, 98.40%, is missed." in text
    conversion["conversion"]["target"] = None
    text = words(conversion, outline)
    assert "Steps to target n/a no target was set" in text
    assert "is missed" not in text


def test_a_network_that_gained_is_not_called_lossless(conversion: dict[str, Any], outline: Any) -> None:
    conversion["conversion"]["ann_accuracy"] = 0.9775
    assert "Loss, points \u22120.25" in words(conversion, outline)
    assert [points(0.0123), points(-0.001), points(None)] == ["1.23", "\u22120.10", "n/a"]


def test_the_axis_of_steps_is_logarithmic_above_16(conversion: dict[str, Any], converted_page: str) -> None:
    ticks = re.findall(r"<text[^>]*>(\d+)</text>", svg(converted_page, "accuracy-by-step"))
    assert ticks == ["1", "2", "4", "8", "16", "32", "64"]
    short = {**conversion, "steps": 12, "samples": [], "layers": [], "accuracy_by_step": [0.9] * 12}
    short["conversion"] = {**conversion["conversion"], "steps_to_target": None, "synops": [], "energy_uJ": [], "early_exit": []}
    ticks = re.findall(r"<text[^>]*>(\d+)</text>", svg(report.page(short), "accuracy-by-step"))
    assert ticks == ["2", "4", "6", "8", "10", "12"]
    assert powers(100) == [1, 2, 4, 8, 16, 32, 64]
    assert powers(128)[-1] == 128


def test_the_lines_of_the_ann_and_the_target_are_in_the_chart(converted_page: str) -> None:
    chart = svg(converted_page, "accuracy-by-step")
    for name in ("spiking", "ANN", "target", "early exit"):
        assert f">{name}</text>" in chart
    assert ">target</text>" not in svg(converted_page, "energy-by-step")


def test_the_numbers_over_time(converted_page: str) -> None:
    found = rows(converted_page, "conversion")
    assert [row[0] for row in found] == ["1", "2", "4", "8", "16", "32 (target)", "64"]
    assert found[3][1:3] == ["62.00%", "36.50"]  # 0.5 + 8 x 0.015; 98.5 - 62
    assert found[5][1:3] == ["98.00%", "0.50"]


def test_the_table_of_layers(converted_page: str) -> None:
    found = rows(converted_page, "errors")
    assert [row[0] for row in found] == [f"{i} {name}" for i, name in enumerate(NAMES, 1)]
    assert [row[2] for row in found] == ["1.5", "2", "2.5", "3", "3.5"]
    assert [row[5] for row in found][::4] == ["0.00781", "0.0141"]  # 0.5 / 64, 0.9 / 64
    assert "blocks.1.neuron2 is furthest from the ANN (0.0141), stem.neuron nearest (0.00781)" in converted_page


def test_the_ledger(converted_page: str) -> None:
    first, second, third = rows(converted_page, "ledger")
    assert [first[0], first[2], first[3]] == ["1 fold_norms", "–", "0"]
    assert re.sub(" +", " ", first[1]) == "2 nodes stem.conv head"
    assert second[0] == "2 normalise"
    assert second[1].startswith("5 nodes")
    assert re.sub(" +", " ", second[2]) == "0.25 to 3.75 stem.neuron: 1.5 blocks.0.neuron1: 0.25 to 3.75"
    assert second[3] == "1.25e-06"
    assert [third[0], third[1].split("  ")[0], third[2], third[3]] == ["3 spike", "1 node", "–", "–"]
    assert [span(2), span([1, 1.0]), span([3, 0.5, None]), span([])] == ["2", "1", "0.5 to 3", "n/a"]


def test_early_exit_is_a_table_or_nothing(conversion: dict[str, Any], converted_page: str) -> None:
    assert rows(converted_page, "exit") == [["0.9", "97.00%", "1.50", "11.25"], ["0.99", "97.80%", "0.70", "20.5"]]
    conversion["conversion"]["early_exit"] = []
    html = report.page({**conversion, "samples": []})
    assert 'id="exit"' not in html
    assert ">early exit</text>" not in svg(html, "accuracy-by-step")


def test_a_conversion_that_says_the_least_is_survived(bare: dict[str, Any], outline: Any) -> None:
    bare["conversion"] = {"method": "m", "input": "current", "model": "net", "ann_accuracy": 0.5}
    found = outline(report.page(bare))
    assert found.charts == []
    for text in ("no accuracy, no energy, no operations", "no layers; errors", "holds no passes", "accuracy n/a", "Loss, points n/a"):
        assert text in found.words


def test_unknown_values_and_exact_layers_are_survived(conversion: dict[str, Any], outline: Any) -> None:
    conversion["samples"] = []
    conversion["layers"][0]["relative_error"] = [0.5, *[0.0] * 63]
    conversion["layers"][1]["relative_error"] = [None] * 64
    del conversion["layers"][2]["relative_error"], conversion["layers"][3]["scale"]
    conversion["conversion"]["synops"] = [0.0] * 64
    conversion["conversion"]["energy_uJ"][0] = 0.0
    conversion["accuracy_by_step"][3] = None
    conversion["conversion"]["early_exit"][0] |= {"accuracy": None, "confidence": "x"}
    found = outline(report.page(conversion))
    assert found.charts[:6] == CHARTS
    for layer in conversion["layers"]:
        layer["relative_error"] = [0.0] * 64
    assert outline(report.page(conversion)).charts[:6] == CHARTS


def test_every_text_is_escaped(conversion: dict[str, Any], outline: Any) -> None:
    evil = '"><script>alert(1)</script>'
    conversion["conversion"] |= {"method": evil, "model": evil, "input": evil, "options": {evil: evil}}
    conversion["conversion"]["ledger"] = [{"pass": evil, "nodes": [evil], "scale": {evil: 1.0}, "error": evil}]
    conversion["layers"] = [{**conversion["layers"][0], "name": evil, "scale": evil}]
    html = report.page({**conversion, "samples": [], "operations": []})
    assert "<script" not in html
    assert not outline(html).open


@pytest.mark.parametrize("steps", [1, 2])
def test_very_few_steps(conversion: dict[str, Any], outline: Any, steps: int) -> None:
    conversion |= {"steps": steps, "samples": [], "accuracy_by_step": [0.98] * steps}
    conversion["conversion"] |= {"steps_to_target": 1, "synops": [5.0] * steps, "energy_uJ": [7.0] * steps}
    for layer in conversion["layers"]:
        layer["relative_error"] = layer["relative_error"][:steps]
    assert outline(report.page(conversion)).charts[:6] == CHARTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "conversion: got 'list'; must be a JSON object"),
        ({"method": 3}, "conversion.method: got 3; must be text"),
        ({"input": None}, "conversion.input: got None; must be text"),
        ({"model": []}, r"conversion.model: got \[\]; must be text"),
        ({"options": []}, r"conversion.options: got \[\]; must be a JSON object or null"),
        ({"ann_accuracy": 98.5}, "conversion.ann_accuracy: got 98.5; must be a fraction between 0 and 1"),
        ({"ann_accuracy": None}, "conversion.ann_accuracy: got None; must be a fraction"),
        ({"target": True}, "conversion.target: got True; must be a fraction between 0 and 1 or null"),
        ({"steps_to_target": 0}, "conversion.steps_to_target: got 0; must be a whole number from 1 to T = 64 or null"),
        ({"steps_to_target": 65}, "conversion.steps_to_target: got 65"),
        ({"steps_to_target": 3.0}, "conversion.steps_to_target: got 3.0"),
        ({"synops": 7}, "conversion.synops: got 7; must be a JSON list of numbers"),
        ({"synops": ["a"] * 64}, r"conversion.synops\[0\]: got 'a'; must be a number or null"),
        ({"energy_uJ": [1.0] * 63}, "conversion.energy_uJ: got '63 values'; must be one value for each of T = 64 steps"),
        ({"early_exit": [{"accuracy": 1}]}, r"conversion.early_exit\[0\]: missing confidence, mean_steps"),
        ({"ledger": {}}, "conversion.ledger: got 'dict'; must be a JSON list"),
        ({"ledger": [{"pass": "fold"}]}, r"conversion.ledger\[0\]: missing nodes"),
        ({"ledger": [{"pass": "fold", "nodes": 2}]}, r"conversion.ledger\[0\].nodes: got 2; must be a JSON list"),
        ({"ledger": [{"pass": "p", "nodes": [], "scale": 2}]}, r"conversion.ledger\[0\].scale: got 2; must be a JSON object or null"),
        ({"ledger": [{"pass": "p", "nodes": [], "scale": {"a": "1"}}]}, r"conversion.ledger\[0\].scale\['a'\]: got '1'; must be a number"),
    ],
)
def test_a_malformed_conversion_is_refused_with_the_fields_name(conversion: dict[str, Any], change: Any, message: str) -> None:
    changed = {**conversion["conversion"], **change} if change else change
    with pytest.raises(RecordError, match=f"record: {message}"):
        report.page({**conversion, "conversion": changed})


def test_what_belongs_to_a_conversion_outside_its_object_is_checked_too(conversion: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="accuracy_by_step: got '2 values'; must be one value for each of T = 64 .*spikeloom convert"):
        report.page({**conversion, "accuracy_by_step": [0.1, 0.2]})
    with pytest.raises(RecordError, match="steps: got None; must be a whole number above 0"):
        report.page({**conversion, "steps": None})
    conversion["layers"][1]["relative_error"] = [0.1]
    with pytest.raises(RecordError, match=r"layers\[1\].relative_error: got '1 values'"):
        report.page(conversion)
    del conversion["conversion"]["method"]
    with pytest.raises(RecordError, match="conversion: missing method; expected a run record of schema 1"):
        report.page(conversion)
