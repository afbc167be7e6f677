"""`spikeloom bench timing`: the record, the gate that a wrong layer does not pass, and mistakes."""

import json

import pytest
import torch

from spikeloom.bench import child, relpsp
from spikeloom.cli import main
from spikeloom.core.errors import ParameterError

SMALL = "12-7,2x5x5-3x3"


def test_a_tiny_run_writes_the_whole_record_and_a_chart(capsys, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(child, "run", lambda task: tasks.append(task) or {"bytes": 2**20})
    out = tmp_path / "t.json"
    words = ["--shapes", SMALL, "--batch", "4", "--rounds", "2", "--budget", "0.01", "--malloc", "untuned", "--json", str(out)]
    assert main(["bench", "timing", *words]) == 0
    shown = capsys.readouterr().out
    record = json.loads(out.read_text())
    assert (record["bench"], record["options"]["batch"], record["left_out"]) == ("timing", 4, [])
    assert [(row["shape"], row["impl"]) for row in record["results"]] == [
        (shape, impl) for shape in SMALL.split(",") for impl in ("torch", "spikeloom")
    ]
    assert all(row["median_ms"] > 0 and row["peak_mib"] == 1 for row in record["results"])
    assert all(row["speed_up"] == 1 for row in record["results"] if row["impl"] == "torch")
    assert all(row["speed_up"] == pytest.approx(1 / row["vs_torch"]) for row in record["results"])
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")
    assert "gate spikeloom: green" in shown and "speed-up" in shown
    assert [child._relpsp(task)["bytes"] >= 0 for task in tasks] == [True] * 4


def test_a_layer_that_is_wrong_is_not_timed(monkeypatch):
    problem = relpsp.Problem("12-7", 4, 0.8)
    assert relpsp.check("spikeloom", problem).passed
    right = problem.layers["spikeloom"]
    problem.layers["spikeloom"] = lambda t, w: right(t, w) + 0.01
    assert not relpsp.check("spikeloom", problem).passed
    problem.layers["spikeloom"] = lambda t, w: right(t, w.detach()) + w.sum() * 0
    assert not relpsp.check("spikeloom", problem).passed


def test_the_plain_version_agrees_with_the_layer_where_inputs_are_missing():
    problem = relpsp.Problem("30-20", 6, 0.3)
    ours, plain = (problem.layers[impl](problem.t, problem.weight) for impl in ("spikeloom", "torch"))
    assert torch.equal(ours.isinf(), plain.isinf())
    assert torch.allclose(ours, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"shapes": ("784",)}, "bench --shapes: got '784'; must be IN-OUT or CxHxW-OUTxWINDOW"),
        ({"shapes": ("784-0",)}, "bench --shapes: got '784-0'"),
        ({"shapes": ("a-b",)}, "bench --shapes: got 'a-b'"),
        ({"batch": 0}, "bench --batch: got 0; must be at least 1"),
        ({"active": 0.0}, r"bench --active: got 0.0; must be in \(0, 1\]"),
    ],
)
def test_mistakes(options, match):
    with pytest.raises(ParameterError, match=match):
        relpsp.Options(**options)
