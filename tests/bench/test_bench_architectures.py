"""Errors over T of networks of others: the fit, the notes, and a record of small ones."""

import json

import pytest
import torch
from torch import nn

import spikeloom
from spikeloom.bench import architectures, chart
from spikeloom.cli import main
from spikeloom.core.errors import ParameterError, SpikeloomError


def test_slopes_of_powers_are_their_exponents():
    steps = [2**k for k in range(11)]
    for power in (0.0, 0.5, 1.0):
        assert architectures.slope(steps, [3 * t**-power for t in steps]) == pytest.approx(-power)
    # only the last octaves count
    assert architectures.slope(steps, [9.0] * 7 + [1.0, 0.5, 0.25, 0.125]) == pytest.approx(-1)
    assert architectures.slope([1, 2], [0.0, 0.0]) == 0.0


def test_one_layer_is_within_one_spike_of_its_drive():
    # IF with soft reset from an empty membrane: count = floor(T a / s), so that the error is below s / T
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 3)).eval()
    data = torch.randn(20, 5)
    with torch.no_grad():
        tops = net[:2](data).amax(1)
    s, x = tops.max(), data[tops < tops.max()]  # at the scale itself rounding decides
    snn = spikeloom.convert(net, "rueckauer2017", data, 64, percentile=100.0)
    found = architectures.faithfulness(snn, x)
    with torch.no_grad():
        activation = net[:2](x)
    assert found["steps"] == [1, 2, 4, 8, 16, 32, 64]
    for t, error in zip(found["steps"], found["layers"][0]["relative_error"], strict=True):
        expected = (t * activation / s).floor() * s / t
        assert error == pytest.approx(((expected - activation).norm() / activation.norm()).item(), abs=1e-4)
    assert found["layers"][0]["slope"] < -0.85
    with torch.no_grad():
        wanted, got = net(x), snn(x).mean(0)
    assert found["output_error"][-1] == pytest.approx(((got - wanted).norm() / wanted.norm()).item(), rel=1e-4)
    assert found["error"] == {"median": found["layers"][0]["relative_error"][-1], "worst": found["layers"][0]["relative_error"][-1]}


def row(pools, slope, errors=(1.0, 1.0, 1.0, 1.0), refused=None):
    return {"pools": pools, "slope": {"median": slope}, "layers": [{"relative_error": list(errors)}], "refused": refused}


def test_notes_name_what_the_numbers_show():
    gate, average = row("gate", -0.5), row("average", -0.98)
    assert "with averages in their place the slope is -0.98" in architectures.note(gate, [gate, average])
    assert architectures.note(average, [gate, average]) == ""
    late = row("none", -0.6, (1.0, 0.8, 0.5, 0.26))
    assert "still in its transient: the slope is -0.32 in the first of the last octaves and -0.94" in architectures.note(late, [late])
    flat = row("none", -0.5, (1.0, 0.7, 0.5, 0.35))
    assert architectures.note(flat, [flat]) == architectures.OPEN
    assert architectures.note(row("none", 0.0, refused="no"), []) == ""


def test_a_gate_counts_more_than_the_larger_rate_where_two_lead_in_turn():
    # the note's claim by hand: equal rates, the second input a step ahead; a tie goes to the first, whose spike then passes too
    pool = spikeloom.nn.pool.SpikingMaxPool2d((1, 2))
    first, second = torch.tensor([0.0, 1, 0, 1, 0, 1]), torch.tensor([1.0, 0, 1, 0, 1, 0])
    spikes = pool(torch.stack([first, second], 1).view(6, 1, 1, 1, 2)).flatten()
    assert spikes.tolist() == [1, 1, 1, 1, 1, 1]


def test_a_network_that_is_refused_is_in_the_record(monkeypatch, tmp_path):
    monkeypatch.setattr(architectures, "build", lambda name, seed: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.Sigmoid()))
    assert main(["bench", "architectures", "--nets", "bn_vgg11,resnet20_cifar10", "--steps", "4", "--json", str(tmp_path / "a.json")]) == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert all("Sigmoid" in found["refused"] and not found["layers"] and not found["note"] for found in record["results"])
    assert (tmp_path / "a.svg").exists()


def test_the_record_and_chart_of_a_small_network(monkeypatch, place, tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    monkeypatch.setattr(architectures, "build", lambda name, seed: net.eval())
    record = architectures.bench(architectures.Options(("bn_vgg11",), steps=32), place, lambda text: None)
    assert [found["pools"] for found in record["results"]] == ["gate", "increase", "average"]
    assert all([layer["name"] for layer in found["layers"]] == ["1", "4"] for found in record["results"])
    assert all(len(layer["relative_error"]) == 6 for found in record["results"] for layer in found["layers"])
    assert chart.write(record, tmp_path / "a.svg").read_text().startswith("<?xml")
    json.dumps(record)


@pytest.mark.parametrize(("name", "neurons"), [("resnet20_cifar10", 19), ("squeezenet_v1_0", 26)])
def test_a_network_of_pytorchcv(name, neurons, place):
    pytest.importorskip("pytorchcv.model_provider")
    record = architectures.bench(architectures.Options((name,), steps=2, batch=1), place, lambda text: None)
    assert all(found["refused"] is None and len(found["layers"]) == neurons for found in record["results"])


def test_what_is_asked_wrongly_is_refused(monkeypatch):
    assert architectures.Options().nets == tuple(architectures.NETS)
    with pytest.raises(ParameterError, match="bench --nets: got 'resnet19'; did you mean 'resnet18'"):
        architectures.Options(("resnet19",))
    with pytest.raises(ParameterError, match="bench --steps: got 24; must be a power of two"):
        architectures.Options(steps=24)
    with pytest.raises(ParameterError, match="bench --batch: got 0; must be at least 1"):
        architectures.Options(batch=0)
    monkeypatch.setitem(__import__("sys").modules, "pytorchcv.model_provider", None)
    with pytest.raises(SpikeloomError, match="pip install --no-deps pytorchcv==0.0.67 requests"):
        architectures.build("resnet18")
