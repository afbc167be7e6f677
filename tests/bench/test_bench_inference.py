"""`spikeloom bench inference`: who takes part, the record, the chart and mistakes; no times."""

import json

import pytest
import torch

from spikeloom.bench import inference, rivals
from spikeloom.bench.race import Field
from spikeloom.cli import main
from spikeloom.core.errors import ParameterError
from spikeloom.models import ann_cnn

QUICK = ("--rounds", "1", "--budget", "0.01", "--malloc", "untuned")


@pytest.fixture
def net(tmp_path):
    torch.manual_seed(0)
    torch.export.save(torch.export.export(ann_cnn(size=8).eval(), (torch.rand(2, 1, 8, 8),)), tmp_path / "net.pt2")
    return str(tmp_path / "net.pt2")


def options(net, **more):
    return inference.Options(net, data="digits", **{"steps": 8, "batches": (1, 3), "images": 20, "calibration": 40, **more})


def test_the_record_the_table_and_the_chart(net, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(rivals.known["SpikingJelly"], "available", lambda self: (None, "not installed; pip install"))
    out = tmp_path / "i.json"
    words = ("--model", net, "--data", "digits", "--steps", "8", "--batches", "1,3", "--images", "20", "--calibration", "40")
    assert main(["bench", "inference", *words, "--json", str(out), *QUICK]) == 0
    record = json.loads(out.read_text())
    impls = ["spikeloom-sparse", "spikeloom-int8", "spikeloom-dense", "ann"]
    assert record["bench"] == "inference" and [(r["impl"], r["batch"]) for r in record["results"]] == [
        (i, b) for b in (1, 3) for i in impls
    ]
    assert record["left_out"] == [{"impl": "spikingjelly", "reason": "not installed; pip install"}]
    assert all(entry["passed"] for entry in record["gate"]) and record["constants"]["loss"]["images"] == 40
    for row in record["results"]:
        assert row["ms_per_image"] > 0 and 0 <= row["accuracy"] <= 1 and row["threads"] == 1 and row["vs_spikingjelly"] is None
        assert row["steps"] == (1 if row["impl"] == "ann" else 8)
    assert {row["numbers"] for row in record["layers"]["spikeloom-int8"] if row["kind"] == "IF"} == {"int8"}
    assert "accuracy on 20 test images" in capsys.readouterr().out and (tmp_path / "i.svg").read_text().startswith("<?xml")


def test_the_accuracy_is_that_of_the_answers(net):
    problem = inference.Problem(options(net))
    always = torch.nn.functional.one_hot(torch.tensor(3), 10)
    found = inference._accuracy(lambda x: always.expand(len(x), 10), problem, problem.options)
    assert found == pytest.approx((problem.labels == 3).double().mean().item())


def test_spikingjelly_is_the_same_function(net):
    pytest.importorskip("spikingjelly.activation_based.neuron")
    problem, field = inference.Problem(options(net)), Field()
    answers, _, _ = inference.contenders(problem, field, print)
    assert "spikingjelly" in answers and not field.left_out
    torch.testing.assert_close(answers["spikingjelly"](problem.x[:5]), answers["spikeloom-dense"](problem.x[:5]), rtol=1e-3, atol=1e-3)


def test_another_function_is_not_timed(net, monkeypatch):
    louder = lambda problem: (lambda x: 1.5 * problem.snn(x).mean(0), "NCHW")  # noqa: E731
    monkeypatch.setattr(inference, "_dense", louder)
    told, field = [], Field()
    answers, _, _ = inference.contenders(inference.Problem(options(net)), field, told.append)
    assert list(answers) == ["spikeloom-dense", "ann"] and any("RED, not timed: outputs within 0.33" in text for text in told)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"steps": 0}, "bench --steps: got 0; must be at least 1"),
        ({"batches": (4, 0)}, "bench --batches: got 0; must be at least 1"),
        ({"images": 0}, "bench --images: got 0"),
    ],
)
def test_what_is_asked_wrongly_is_refused(net, more, message):
    with pytest.raises(ParameterError, match=message):
        options(net, **more)


def test_a_network_without_a_card_needs_an_image_set(net):
    with pytest.raises(ParameterError, match="bench --data: got 'nothing'; must be the image set of"):
        inference.Problem(inference.Options(net))
