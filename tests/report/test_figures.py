import re

import pytest

from spikeloom import report
from spikeloom.core.errors import RecordError
from spikeloom.report.figures import DRAWN, figures
from spikeloom.report.record import FIGURES, check
from spikeloom.report.samples import samples

PIXEL = "data:image/png;base64,iVBORw0KGgo="
GIVEN = [
    {"kind": "lines", "title": "Error", "caption": "It falls.", "x_scale": "log", "y_scale": "log",
     "series": [{"name": "ours", "x": [1, 2, 4], "y": [1, 0.5, None]}, {"name": "bound", "x": [1, 4], "y": [2, 1]}]},
    {"kind": "raster", "title": "Times", "x_label": "ms", "groups": [
        {"name": "in", "neurons": 3, "points": [[0.5, 0], [7, 2]]}, {"name": "out", "neurons": 1, "points": []}]},
    {"kind": "histogram", "title": "Spike times", "series": [{"name": "layer", "edges": [0, 1, 2], "counts": [4, 5]}]},
    {"kind": "bars", "title": "Shares", "names": ["a", "b"], "values": [0.1, 0.9]},
    {"kind": "image", "title": "Fields", "src": PIXEL, "alt": "a grid"},
    {"kind": "table", "title": "XOR", "columns": ["in", "out"], "rows": [["00", 16.0], ["01", 10]]},
]  # fmt: skip


def experiment(**changes):
    return {
        "schema": 1, "recipe": "spikeprop-xor", "title": "XOR", "params": 5, "steps": 1, "accuracy": {"test": 0.9},
        "parts": {"done": 1, "of": 1}, "results": {"converged": 0.9, "note": "<b>"}, "figures": GIVEN, "options": {"seeds": 10}, **changes,
    }  # fmt: skip


def test_every_kind_is_drawn_and_checked_under_the_same_names():
    assert set(DRAWN) == set(FIGURES) == {figure["kind"] for figure in GIVEN}


def test_the_page_shows_each_figure_with_its_words_and_every_result():
    page = report.page(experiment())
    for i, figure in enumerate(GIVEN):
        assert f'id="figure-{i}"' in page
        assert figure["title"] in page
    assert "It falls." in page
    assert "&lt;b&gt;" in page and "<b>It" not in page
    assert page.count("<td class=number>16</td>") == 1
    assert re.search(r'<img src="data:image/png;base64,iVBORw0KGgo=" alt="a grid"', page)
    assert "Learning" not in page and "Activity" not in page
    assert "90.00%" in page


def test_a_picture_from_elsewhere_is_not_loaded():
    page = figures({"figures": [{"kind": "image", "title": "x", "src": "https://example.org/a.png"}], "results": {}}, "")
    assert "example.org" not in page


def test_nothing_found_says_so():
    assert "The record holds no results" in report.page(experiment(results={}, figures=[]))


def test_a_figure_that_cannot_be_drawn_is_refused():
    with pytest.raises(RecordError, match=r"figures\[0\].kind: got 'pie'; must be one of lines"):
        check(experiment(figures=[{"kind": "pie", "title": "x"}]), "record")
    with pytest.raises(RecordError, match=r"figures\[0\]: missing rows"):
        check(experiment(figures=[{"kind": "table", "title": "x", "columns": []}]), "record")


def timed():
    layer = {"kind": "RelPSPLinear", "max_level": 1, "rate": 0.9, "silent": 0.1, "saturated": 0.0, "dormant": 0.1, "neurons": 4}
    times = {"edges": [0.0, 1.0, 2.0, 9.0], "counts": [3, 1, 1]}
    shown = {"name": "first", "kind": "RelPSPLinear", "neurons": 2, "spikes": [[0.25, 0, 1.0], [1.75, 1, 1.0]], "traces": []}
    return experiment(
        parts=None, layers=[{**layer, "name": "first", "mean_time": 1.5, "times": times}],
        samples=[{"image": PIXEL, "label": 1, "prediction": 1, "layers": [shown]}],
    )  # fmt: skip


def test_spike_times_are_shown_as_times():
    page = report.page(timed())
    assert 'id="times"' in page and "When the neurons fire" in page and "first 1.5" in page
    many = timed()
    many["samples"][0]["layers"] = [{**many["samples"][0]["layers"][0], "name": f"layer-{i}"} for i in range(6)]
    panels = samples(many, "")
    assert all(f"layer-{i}, 2 neurons" in panels for i in range(6))
    assert "Spike times of image 1" in page and "time step" not in page.partition('id="samples"')[2]
