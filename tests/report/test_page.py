"""The page of one run: what is on it, what is kept off it, and that it needs nothing else."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from spikeloom import report
from spikeloom.core.paper import Paper
from spikeloom.report import markup
from spikeloom.report.chart import chart, spread
from spikeloom.report.energy import prices
from spikeloom.report.learning import picked, steps_to
from spikeloom.report.samples import MARKS
from spikeloom.report.style import COLOURS, level_colours

CHARTS = ["accuracy-curve", "loss-curve", "accuracy-by-step", "rates", "shares"]
ENERGY = ["energy-total", "energy-layers", "operations"]


def figure(html: str, name: str) -> str:
    found = re.search(rf'<figure class="chart" id="{name}">.*?</figure>', html, re.S)
    assert found, f"no chart {name}"
    return found[0]


def test_every_chart_is_there_in_order(page: str, outline: Any) -> None:
    samples = [f"{kind}-{i}" for i in (1, 2, 3) for kind in ("raster", "membranes")]
    assert outline(page).charts == [*CHARTS, *samples, *ENERGY]


def test_charts_say_in_words_what_they_show(page: str) -> None:
    for name in [*CHARTS, *ENERGY, "raster-1", "membranes-1"]:
        svg = figure(page, name)
        assert 'role="img"' in svg
        words, label = re.search(r"<figcaption>(.*)</figcaption>", svg)[1], re.search(r'aria-label="([^"]*)"', svg)[1]
        assert unescape(re.sub("<[^>]*>", "", words)) == unescape(label)
        assert len(label) > 40


def test_the_page_is_closed_small_and_its_ids_are_unique(page: str, comparison: str, outline: Any) -> None:
    for html in (page, comparison):
        found = outline(html)
        assert not found.open
        assert len(found.ids) == len(set(found.ids))
        assert len(html.encode()) < 2_000_000
        inner = {link[1:] for _, _, link in found.links if link.startswith("#")}
        assert inner <= set(found.ids)
        assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(found.ids)


def test_nothing_is_loaded_from_outside(page: str, comparison: str, outline: Any) -> None:
    for html in (page, comparison):
        for tag, key, value in outline(html).links:
            citation = tag == "a" and value == "https://arxiv.org/abs/2210.06386"
            assert citation or value.startswith(("#", "data:")), (tag, key, value)
        assert "@import" not in html
        assert not re.search(r"url\((?!#)", html)
        assert "xmlns" not in html
    assert "<script" not in page


def test_headline_numbers_and_what_they_mean(record: dict[str, Any], outline: Any) -> None:
    record["accuracy"] = {"last": 0.8612, "best": 0.8743, "validated": 0.8701, "test": 0.8699}
    words = outline(report.page(record)).words
    assert "Validated accuracy 87.01% test accuracy at the epoch that the validation split picks" in words
    assert "Last epoch 86.12% test accuracy when training ended" in words
    assert "Best epoch 87.43% highest test accuracy of any epoch; picked on the test set, so optimistic" in words
    assert "Saved weights 86.99%" in words
    assert "Parameters 272,395" in words
    assert "Time 10 min 34 s" in words


def test_a_claim_read_at_its_source_is_printed_in_its_own_box(page: str) -> None:
    box = re.search(r'<aside class="claim".*?</aside>', page, re.S)[0]
    assert "91.37%" in box
    assert "not our measurement" in box
    assert "released training logs" in box
    assert page.count("91.37%") == 1


@pytest.mark.parametrize("tag", ["M", "R", "?", None])
def test_a_recalled_claim_is_not_printed_as_a_number(bare: dict[str, Any], outline: Any, tag: str | None) -> None:
    bare["claim"] = {"metric": "top-1", "value": 0.9425, "where": "Table 2", "tag": tag}
    html = report.page(bare)
    assert "unverified" in outline(html).words
    for number in ("94.25", "0.9425", "94.3", "94%"):
        assert number not in html
    bare["claim"]["tag"] = "C"
    assert "94.25%" in report.page(bare)


def test_no_claim_and_a_claim_without_a_number(bare: dict[str, Any], outline: Any) -> None:
    assert "No claim of the paper is recorded" in outline(report.page(bare)).words
    bare["claim"] = {"metric": "top-1", "value": None, "where": "abstract", "tag": "L"}
    assert "no number" in outline(report.page(bare)).words


def test_the_failure_notice_is_shown_only_when_there_is_one(page: str, bare: dict[str, Any]) -> None:
    assert 'class="failure"' not in page
    html = report.page({**bare, "failure": "The <window> is too narrow."})
    assert re.search(r'<aside class="failure" role="note">.*The &lt;window&gt; is too narrow\.', html)


def poison(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: poison(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [poison(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("text", ['"><script>alert(1)</script>', "' onload='x", "$x^{2", "]]></svg>&amp;", "javascript:alert(1)"])
def test_every_text_is_escaped(record: dict[str, Any], outline: Any, text: str) -> None:
    record["samples"], record["overrides"] = record["samples"][:1], {text: text}
    html = report.page(poison(record, text))
    found = outline(html)
    assert not found.open
    assert "<script" not in html
    assert all(value.startswith(("#", "data:,")) for _, _, value in found.links)
    assert " ".join(text.split()) in found.words


def test_settings_versions_and_citation(page: str, record: dict[str, Any], outline: Any) -> None:
    words = outline(page).words
    for text in ("weight_decay 0.0001", "torch 2.13.0", "validation 6000", "encoder Direct", "workers none"):
        assert text in words
    assert markup.esc(Paper(**record["paper"]).bibtex()) in page


def test_a_bare_record_says_what_is_left_out(bare: dict[str, Any], outline: Any) -> None:
    found = outline(report.page(bare))
    assert found.charts == []
    for text in ("no accuracy per epoch, no loss per epoch", "no layers", "no samples", "no operations", "names no paper"):
        assert text in found.words
    assert "Validated accuracy n/a" in found.words


def test_unknown_values_inside_sections_are_survived(record: dict[str, Any], outline: Any) -> None:
    for row in record["epochs"]:
        row["val_accuracy"] = row["val_loss"] = None
    record["epochs"][3]["train_loss"] = float("nan")
    record["layers"][0]["rate"] = None
    record["samples"] = []
    found = outline(report.page(record))
    assert found.charts == [*CHARTS, *ENERGY]
    assert ">validation</text>" not in figure(report.page(record), "accuracy-curve")


def test_a_picture_that_is_not_a_data_uri_is_left_out(bare: dict[str, Any], outline: Any) -> None:
    bare["samples"] = [{"image": "https://example.org/a.png", "label": 1, "prediction": 1, "layers": []}]
    found = outline(report.page(bare))
    assert not [link for link in found.links if link[0] == "img"]
    assert "No picture recorded." in found.words
    assert "class 1" in found.words


def layer(spikes: list[list[int]], neurons: int = 4, traces: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"name": "hidden", "kind": "LIF", "spikes": spikes, "neurons": neurons, "traces": traces or []}


def sampled(bare: dict[str, Any], *layers: dict[str, Any]) -> str:
    sample = {"image": "", "label": 0, "prediction": 2, "layers": list(layers)}
    return report.page({**bare, "samples": [sample], "data": {"classes": ["cat", "dog"]}})


def test_the_raster_draws_each_spike_once_in_the_colour_of_its_level(bare: dict[str, Any]) -> None:
    html = sampled(bare, layer([[0, 0, 1], [1, 0, 1], [1, 3, 1], [2, 2, 2]]))
    svg = figure(html, "raster-1")
    marks = {colour: path.count("H") for path, colour in re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--(l\d)\)', svg)}
    assert marks == {"l2": 3, "l4": 1}
    assert "hidden 0.42" in svg  # 5 emitted over 4 neurons and 3 steps
    assert '<span class="wrong">' in html
    assert "predicted class 2" in html


def test_negative_spikes_have_a_colour_of_their_own(bare: dict[str, Any]) -> None:
    svg = figure(sampled(bare, layer([[0, 0, 1], [1, 0, -1.0], [1, 2, -1.0]])), "raster-1")
    marks = {colour: path.count("H") for path, colour in re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--([ls]\d)\)', svg)}
    assert marks == {"l3": 1, "s2": 2}


def test_a_crowded_raster_is_cut_and_says_so(bare: dict[str, Any]) -> None:
    crowd = [[step, neuron, 1] for step in range(50) for neuron in range(100)]
    svg = figure(sampled(bare, layer(crowd, neurons=100)), "raster-1")
    assert svg.count("H") == MARKS == 50 * 30
    assert "cut to their first neurons" in svg
    assert "hidden, 30 neurons" in svg


def test_membranes_have_one_line_and_one_threshold_per_level(bare: dict[str, Any]) -> None:
    trace = {"neuron": 2, "membrane": [[0.1, 0.2, 0.3], [0.9, 1.9, 2.2]], "threshold": [0.6, 1.6, 2.6]}
    svg = figure(sampled(bare, layer([[1, 2, 2]], traces=[trace])), "membranes-1")
    for level in ("l1", "l3", "l5"):
        strokes = [style for style in re.findall(r'<path [^>]*style="(fill: none; [^"]*)"', svg) if f"--{level})" in style]
        assert sorted("dasharray" in style for style in strokes) == [False, True]
    assert ">2</text>" in svg
    assert "neuron 2" in svg


def test_prices_come_from_the_totals(record: dict[str, Any]) -> None:
    price = prices(record)
    assert price is not None
    assert price.mac == pytest.approx(4.6, rel=1e-9)
    assert price.accumulate == pytest.approx(0.9, rel=1e-9)
    assert prices({**record, "energy_uJ": None}) is None
    assert prices({**record, "operations": []}) is None


def test_energy_is_compared_both_ways(record: dict[str, Any], outline: Any) -> None:
    record["samples"] = []
    record["operations"] = [{"name": "a", "kind": "Linear", "macs": 1e6, "acs": 6e5, "analog_macs": 0}]
    record["energy_uJ"], record["ann_energy_uJ"] = 0.54, 4.6  # 6e5 accumulates at 0.9 pJ, 1e6 MACs at 4.6 pJ
    words = outline(report.page(record)).words
    assert "540 nJ estimated, 11.7% of the 4.60 µJ with ReLU" in words
    assert "4.6 pJ for a multiply-accumulate (MAC), 0.9 pJ for an accumulate (AC)" in words
    record["energy_uJ"] = 9.2
    assert "9.20 µJ estimated, 200% of the 4.60 µJ with ReLU" in outline(report.page(record)).words


def test_the_picked_epoch_is_the_records(record: dict[str, Any]) -> None:
    assert picked(record) == record["picked_epoch"]
    for place in (None, -1, len(record["epochs"]), "2"):
        assert picked({**record, "picked_epoch": place}) is None
    record["epochs"][3]["test_accuracy"] = None
    assert picked({**record, "picked_epoch": 3}) is None


def test_steps_to() -> None:
    assert steps_to([0.5, 0.8, 0.99, 1.0]) == 3
    assert steps_to([0.7]) == 1


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (markup.percent, 0.12345, "12.35%"), (markup.percent, None, "n/a"), (markup.percent, float("nan"), "n/a"),
        (markup.count, 4_327_754, "4,327,754"),
        (markup.short, 999, "999"), (markup.short, 999.6, "1.00 k"), (markup.short, 15_630_000, "15.6 M"), (markup.short, 2.5e9, "2.50 G"),
        (markup.short, 0, "0"), (markup.short, 0.0042, "0.0042"),
        (markup.energy, 0.5, "500 nJ"), (markup.energy, 16.1, "16.1 µJ"), (markup.energy, 8910, "8.91 mJ"), (markup.energy, 2e6, "2.00 J"),
        (markup.duration, 0.25, "0.2 s"), (markup.duration, 59.9, "59.9 s"), (markup.duration, 634, "10 min 34 s"),
        (markup.duration, 3599.7, "1 h 0 min"), (markup.duration, 7380, "2 h 3 min"),
        (markup.plain, {"a": [1, None], "b": True}, "a = 1, none, b = yes"), (markup.plain, [], "none"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_reading(write: Any, value: Any, text: str) -> None:
    assert write(value) == text


def test_elide_keeps_both_ends() -> None:
    assert markup.elide("blocks.0.neuron", 15) == "blocks.0.neuron"
    cut = markup.elide("stages.1.blocks.0.residual.neuron1", 24)
    assert cut == "stages.1.bl…dual.neuron1"
    assert len(cut) == 24


def test_spread_keeps_order_and_gap_and_moves_nothing_that_fits() -> None:
    assert spread([0.9, 0.1, 0.5], 0.3) == [0.9, 0.1, 0.5]
    moved = spread([0.5, 0.5, 0.51], 0.1)
    assert moved[0] <= moved[1] <= moved[2]
    assert moved[1] - moved[0] == pytest.approx(0.1, abs=0.01)
    assert sum(moved) == pytest.approx(1.51)
    assert spread([], 0.1) == []


def test_colours_are_distinct_so_that_the_dark_page_can_swap_them() -> None:
    light = [pair[0] for pair in COLOURS.values()]
    assert len(set(light)) == len(light)
    for levels in range(1, 9):
        assert len(level_colours(levels)) == levels


def test_a_chart_is_the_same_every_time_and_leaves_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)

    def draw(figure: Any) -> None:
        figure.subplots().plot([1, 2], [3, 4])

    first = chart("one", "A title. Its words.", draw)
    assert first == chart("one", "A title. Its words.", draw)
    assert "<b>A title.</b> Its words." in first
    assert dict(matplotlib.rcParams) == before
