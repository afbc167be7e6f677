"""Converting and running: the gate, the record, and what is refused."""

import json

import pytest
import torch

from spikeloom.bench import conversion, rivals
from spikeloom.bench.rivals import Evaluator
from spikeloom.cli import main
from spikeloom.io import weights
from spikeloom.neurons import Neuron

CPU = torch.device("cpu")
SMALL = conversion.Options(channels=(2, 2, 2), calibration=6, steps=8, batches=(1, 2))


@pytest.fixture
def problem():
    return conversion.Problem(SMALL, CPU)


@pytest.fixture
def quiet(monkeypatch):
    """Our own implementations only."""
    monkeypatch.setattr(rivals, "known", {name: cls for name, cls in rivals.known.items() if not cls.requirement})


def test_ours_are_one_function(problem):
    own = conversion.ours(problem.converted())
    assert [one.impl for one in own] == ["spikeloom", "spikeloom-bf16", "spikeloom-channels-last", "spikeloom-channels-last-bf16"]
    assert [one.precision for one in own] == ["float32", "bfloat16"] * 2
    for one in own:
        verdict = conversion.check(one, problem, own[0])
        assert verdict.passed, verdict.text
    counts, answer = conversion.watched(own[0], problem.images[:3], 8)
    assert counts.shape == (3, 2, 32, 32) and answer.shape == (3, 10)
    # soft reset from an empty membrane: floor of the drive, by hand from the ANN's own first layer
    with torch.no_grad():
        activation = problem.ann[:3](problem.images[:6])
        expected = (8 * activation[:3] / activation.max()).floor()
    assert ((counts - expected).abs() <= 1).all() and (counts == expected).float().mean() > 0.99


def test_another_function_is_red(problem):
    own = conversion.ours(problem.converted())[0]
    louder = Evaluator("louder", lambda x, steps: own.run(x, steps) * 1.2, own.net, Neuron)
    assert "outputs within 0.2" in conversion.check(louder, problem, own).text
    assert not conversion.check(louder, problem, own).passed
    other = conversion.ours(conversion.Problem(conversion.Options(net="resnet", channels=(2, 2, 2), calibration=6), CPU).converted())[0]
    assert not conversion.check(other, problem, own).passed
    broken = Evaluator("broken", lambda x, steps: 1 / 0, own.net, Neuron)
    assert conversion.check(broken, problem, own).text == "raised ZeroDivisionError: division by zero"


def test_spikingjelly_is_the_same_function(problem):
    pytest.importorskip("spikingjelly.activation_based.ann2snn")
    rival = rivals.known["SpikingJelly"]()
    found = rival.evaluators(rival.convert(problem.ann, [problem.calibration]))
    assert [one.impl for one in found] == ["spikingjelly", "spikingjelly-multi-step"]
    oracle = conversion.ours(problem.converted())[0]
    for one in found:
        verdict = conversion.check(one, problem, oracle)
        assert verdict.passed, verdict.text


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("net", ["vgg", "resnet"])
def test_the_record(net, place):
    told = []
    record = conversion.bench(conversion.Options(net, channels=(2, 2, 2), calibration=3, steps=8, batches=(1, 2)), place, told.append)
    found = {row["impl"]: row for row in record["results"]}
    judged = {entry["impl"]: entry["passed"] for entry in record["gate"]}
    assert list(found) == [impl for impl, passed in judged.items() if passed] and {"ann", "spikeloom"} <= set(found)
    for row in found.values():
        assert row["batch"] in (1, 2)
        assert row["test_set_s"] == pytest.approx(row["median_ms"] / row["batch"] * 10)
    assert found["ann"]["vs_ann"] == 1.0
    assert [row["impl"] for row in record["conversions"]] == ["spikeloom"]
    assert 0 < record["before_first_neuron"] < 1
    assert any("gate spikeloom: green" in line for line in told)
    json.dumps(record)


@pytest.mark.usefixtures("quiet")
def test_the_command(capsys, tmp_path):
    problem = conversion.Problem(conversion.Options(channels=(2, 2, 2), calibration=2, batches=(1,)), CPU)
    weights.save(problem.ann, tmp_path / "w.safetensors")
    words = ["bench", "conversion", "--channels", "2,2,2", "--calibration", "2", "--steps", "8", "--batches", "1"]
    words += ["--rounds", "1", "--weights", str(tmp_path / "w.safetensors"), "--json", str(tmp_path / "c.json")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "before the first neuron" in shown and "Converting with 2 images, ours by rueckauer2017" in shown
    assert json.loads((tmp_path / "c.json").read_text())["options"]["weights"].endswith("w.safetensors")
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--net", "vgg6"), "bench --net: got 'vgg6'; must be one of 'vgg', 'resnet'"),
        (("--steps", "0"), "bench --steps: got 0; must be at least 1"),
        (("--batches", "4,0"), "bench --batches: got 0; must be at least 1"),
    ],
)
def test_mistakes(words, message, capsys):
    assert main(["bench", "conversion", *words]) == 2
    assert message in capsys.readouterr().err


def test_what_converts_nothing_says_so():
    with pytest.raises(rivals.Unavailable, match="norse converts no networks"):
        rivals.known["Norse"]().convert(torch.nn.ReLU(), [])
