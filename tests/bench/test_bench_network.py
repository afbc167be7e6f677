"""Training steps of networks: what is built, what is refused, where the time goes."""

import subprocess
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spikeloom.bench import child, nets, network, problem, race, rivals, shares
from spikeloom.bench.timing import Plan
from spikeloom.neurons import LIF, Neuron
from spikeloom.nn.snn import SNN

CPU = torch.device("cpu")
SMALL = {"model": "vgg6", "channels": (2, 2, 2), "batch": 1, "steps": 2, "peak": "no", "where": "no"}


@pytest.mark.parametrize(
    ("model", "channels", "neurons", "shape"),
    [("ds_resnet20", (2, 4, 8), 21, (3, 32, 32)), ("stbp_cnn", (), 4, (1, 28, 28)), ("vgg6", (2, 3, 4), 6, (3, 32, 32))],
)
def test_the_networks_and_their_twins(model, channels, neurons, shape):
    net, found = nets.build(model, channels, "LIF")
    kinds = [m for m in net.modules() if isinstance(m, Neuron)]
    assert (len(kinds), found) == (neurons, shape)
    assert {str(m) for m in kinds} == {str(LIF(tau=2.0, threshold=1.0, surrogate="atan"))}
    twin = problem.Twin(net)
    assert sum(isinstance(m, nn.ReLU) for m in twin.modules()) == neurons
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in net.parameters())
    assert twin(torch.randn(2, 3, *shape)).shape == (2, 3, 10)


def test_own_keeps_the_neurons_of_the_model():
    net, _ = nets.build("ds_resnet20", (2, 2, 2), "own")
    assert {type(m).__name__ for m in net.modules() if isinstance(m, Neuron)} == {"MLF"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ds_resnet21"}, "did you mean 'ds_resnet20'"),
        ({"channels": (8, 8)}, r"bench --channels: got \(8, 8\); must be 3 numbers for vgg6"),
        ({"channels": (8, 0, 8)}, "bench --channels: got 0; must be at least 1"),
        ({"batch": 0}, "bench --batch: got 0; must be at least 1"),
        ({"precision": "16"}, "bench --precision: got '16'"),
        ({"channels_last": "maybe"}, "bench --channels-last: got 'maybe'"),
        ({"neuron": "LIV"}, "did you mean 'LIF'"),
        ({"updates": 3}, r"bench --updates: got \"3, --data ''\"; must be at least 0, and 0 without --data"),
        ({"data": "digits"}, r"bench --data: got 'digits of \[1, 8, 8\]'; must be images of \[3, 32, 32\] for vgg6"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network.Problem(network.Options(**{**SMALL, **options}), CPU)


def test_neurons_are_counted_by_hand():
    # conv [3] on 4 x 4
    problem = network.Problem(network.Options("layer", (3,), side=4, steps=5), CPU)
    assert network.neurons_per_step(problem) == 3 * 4 * 4


def test_a_network_with_other_weights_is_red(monkeypatch):
    problem = network.Problem(network.Options(**SMALL), CPU)
    assert network.check("eager", problem).passed
    right = rivals.known["Eager"].network

    def wrong(self, net):
        made = right(self, net)
        if self.impl == "wrong":
            with torch.no_grad():
                made.snn.net[0].weight[0, 0, 0, 0] += 0.01
        return made

    class Wrong(rivals.known["Eager"]):
        impl = "wrong"

    monkeypatch.setattr(rivals.known["Eager"], "network", wrong)
    monkeypatch.setattr(rivals, "known", {**rivals.known, "Wrong": Wrong})
    found = network.check("wrong", problem)
    assert not found.passed
    assert "off the reference loop, float64" in found.text


def test_a_network_that_passes_no_gradient_cannot_be_compared():
    problem = network.Problem(network.Options(**SMALL), CPU)
    for parameter in problem.net.parameters():
        nn.init.zeros_(parameter)
    problem.net[-1].requires_grad_(False)
    assert "nothing can be compared" in network.check("spikeloom", problem).text


def test_the_record_of_a_small_network(place, monkeypatch):
    ours = {name: rivals.known[name] for name in ("Eager", "Spikeloom", "SpikeloomEvents", "SpikeloomPacked")}
    monkeypatch.setattr(rivals, "known", ours)
    options = network.Options(**{**SMALL, "reference": "yes", "where": "yes", "channels_last": "yes"})
    record = network.bench(options, place, lambda text: None)
    found = {row["impl"]: row for row in record["results"]}
    assert list(found) == ["copy", "eager", "spikeloom", "spikeloom-events", "spikeloom-packed", "relu"]
    assert found["relu"]["vs_relu"] == found["copy"]["vs_copy"] == 1.0
    assert all(row["pass"] == "forward_backward" and row["peak_mib"] is None for row in found.values())
    assert found["spikeloom"]["saved_mib"] < found["eager"]["saved_mib"]
    for impl in ("eager", "spikeloom", "relu"):
        assert sum(found[impl]["where"].values()) == pytest.approx(1.0)
        assert all(found[impl]["where"][part] > 0 for part in ("convolution", "neuron"))


def test_a_step_in_half_precision_is_gated_and_runs():
    problem = network.Problem(network.Options(**{**SMALL, "precision": "bf16"}), CPU)
    verdict = network.check("spikeloom", problem)
    assert verdict.passed, verdict.text
    assert "bfloat16" in verdict.text


def test_time_goes_to_the_module_that_called_backward_too():
    x = torch.randn(4, 8, 16, 16, requires_grad=True)
    convolution = nn.Conv2d(8, 8, 3, padding=1)
    found = shares.measure(lambda: convolution(x).sum().backward())
    assert found["convolution"] > 0.5
    assert found["neuron"] == found["norm"] == 0
    norm = nn.BatchNorm2d(8)
    found = shares.measure(lambda: norm(x).sum().backward())
    assert found["norm"] > 0.3
    assert found["convolution"] == 0
    found = shares.measure(lambda: nn.Linear(16, 16)(x).sum().backward())
    assert found["rest"] == 1.0


def test_marking_calls_leaves_norms_fused_and_modules_as_they_were():
    call = nn.Module.__call__
    net = nets.layer((2,), 4)[0]
    snn = SNN(net, steps=2, encoder=None)
    seen = []
    plain = net[1].forward
    net[1].forward = lambda x: (seen.append(net[2].__dict__["_norm"] is net[1]), plain(x))[1]
    shares.measure(lambda: snn(torch.randn(2, 1, 2, 4, 4)))
    assert seen == [True]
    assert nn.Module.__call__ is call


def test_peak_memory_is_measured_in_a_process_of_its_own():
    options = network.asdict(network.Options("stbp_cnn", batch=2, steps=2))
    found = child.run({"task": "peak", "impl": "relu", "options": options, "device": "cpu", "threads": 1, "malloc": "untuned"})
    assert found["bytes"] >= 0


def test_a_child_that_fails_says_why(monkeypatch):
    answer = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nParameterError: neuron: got 'LIV'; did you mean 'LIF'?\n")
    monkeypatch.setattr(subprocess, "run", lambda words, **options: answer)
    with pytest.raises(child.ChildFailed, match="the process that measures first_use failed: .*did you mean 'LIF'"):
        child.run({"task": "first_use", "neuron": "LIV", "dtype": "float32"})


def test_a_network_learns_from_images_that_are_not_timed(monkeypatch):
    """Eight random images of two classes, told apart by their sign: the loss falls, and the timed ones are the first of the set."""
    made = torch.Generator().manual_seed(0)
    labels = torch.arange(10) % 2
    pixels = torch.where(labels.view(-1, 1, 1, 1) > 0, 255, 0) * torch.rand(10, 3, 32, 32, generator=made).gt(0.2)
    images = SimpleNamespace(train_images=pixels.to(torch.uint8).numpy(), train_labels=labels.numpy(), mean=(0.5,) * 3, std=(0.5,) * 3)
    monkeypatch.setattr(problem.data, "load", lambda name, folder: images)
    options = {**SMALL, "batch": 2, "data": "toy"}
    fresh, taught = (network.Problem(network.Options(**options, updates=n), CPU) for n in (0, 30))
    assert torch.equal(fresh.batch(2)[0][0], (pixels[:2] / 255 - 0.5) / 0.5) and fresh.batch(2)[1].tolist() == [0, 1]
    assert taught.step("spikeloom")().item() < 0.95 * fresh.step("spikeloom")().item()
    events = network._bench(network.Options(**options), race.Place(plan=Plan(rounds=1), show=False), lambda text: None, "network", CPU)
    densities = next(row["densities"] for row in events["results"] if row["impl"] == "spikeloom-events")
    assert len(densities) == 7 and all(d is None or 0 <= d <= 1 for d in densities.values())
