"""Other libraries: their reasons when they are not there, and their equations against ours written out when they are."""

import importlib
import importlib.metadata

import pytest
import torch
from torch import nn

from spikeloom.bench import gate, network, rivals
from spikeloom.bench.race import Place
from spikeloom.neurons import IF, LIF, MLF, PLIF
from spikeloom.nn.snn import SNN

FOREIGN = {cls.impl: cls for cls in rivals.known.values() if cls.requirement}
KIND = LIF(tau=2.0, threshold=1.0, surrogate="atan")


def present(name):
    rival = FOREIGN[name]()
    version, reason = rival.available()
    if version is None:
        pytest.skip(f"{name}: {reason}")
    return rival


def equations(x, slope, reset_gradient):
    """The LIF that all share: u = v + (x - v)/2, fires above 1, to zero; `slope(z)` in the backward pass."""

    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return (z > 0).to(z.dtype)

        @staticmethod
        def backward(ctx, grad):
            return grad * slope(ctx.saved_tensors[0])

    v, spikes = torch.zeros_like(x[0]), []
    for x_t in x:
        u = (v + x_t) / 2
        s = Fire.apply(u - 1)
        v = u * (1 - (s if reset_gradient == "through" else s.detach()))
        spikes.append(s)
    return torch.stack(spikes)


def atan(z):
    return 1 / (1 + (torch.pi * z) ** 2)


@pytest.mark.parametrize(
    ("name", "slope", "reset_gradient"),
    [
        ("spikingjelly", atan, "through"),
        # as its code has it: the spike of a step zeroes the membrane at the start of the next one, and passes no gradient
        ("snntorch", atan, "detached"),
        ("norse", lambda z: 1 / (1 + z.abs()) ** 2, "through"),
        ("sinabs", atan, "detached"),
    ],
)
def test_a_library_computes_the_equations_written_out_here(name, slope, reset_gradient):
    contender = present(name).neuron(KIND)
    x = gate.drive(10, 400, seed=3)
    weights = torch.randn(10, 400)
    found = []
    for function in (contender.call, lambda x: equations(x, slope, reset_gradient)):
        asked = x.clone().requires_grad_()
        spikes = function(asked)
        spikes.backward(weights)
        found.append((spikes.detach(), asked.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert 0.1 < found[0][0].mean() < 0.3
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    assert gate.check(contender, x).passed


def test_plif_of_spikingjelly_learns_the_same_leak():
    contender = present("spikingjelly").neuron(PLIF(tau=2.0))
    assert len(contender.learned) == 1
    assert gate.check(contender, gate.drive(10, 400)).passed


@pytest.mark.parametrize("model", ["ds_resnet20", "stbp_cnn"])
def test_a_network_of_spikingjellys_layers_is_the_same_network(model):
    present("spikingjelly")
    channels = (4, 8, 8) if model == "ds_resnet20" else ()
    problem = network.Problem(network.Options(model, channels, batch=1, steps=2), torch.device("cpu"))
    found = network.check("spikingjelly", problem)
    assert found.passed, found.text
    kinds = {type(m).__module__.partition(".")[0] for m in problem.made("spikingjelly").modules() if not list(m.children())}
    assert "spikeloom" not in kinds


@pytest.mark.parametrize("name", FOREIGN)
def test_a_library_that_is_not_installed_says_what_to_type(name, monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    rival = FOREIGN[name]()
    assert rival.available() == (None, f"not installed; pip install --no-deps {rival.requirement}")


def test_a_library_that_lacks_something_names_it(monkeypatch):
    def without(name):
        raise ModuleNotFoundError("No module named 'loguru'", name="loguru")

    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2.0.0")
    monkeypatch.setattr(importlib, "import_module", without)
    version, reason = FOREIGN["spikingjelly"]().available()
    assert version is None
    assert reason == "spikingjelly 2.0.0 cannot be imported (No module named 'loguru'); pip install --no-deps loguru"


@pytest.mark.parametrize(
    "kind", [IF(), MLF(), LIF(tau=2.0), LIF(decay=0.5, surrogate="atan"), LIF(tau=2.0, surrogate="atan", reset="subtract")]
)
def test_only_the_shared_neuron_is_compared(kind):
    with pytest.raises(rivals.Unavailable, match=r"is compared on LIF\(tau=..., surrogate='atan'\) with a hard reset; this is another"):
        rivals.base.hard_leaky(kind, "norse")


def test_values_per_channel_are_not_compared():
    with pytest.raises(rivals.Unavailable, match="values per channel are not compared"):
        rivals.base.constants(LIF(decay=[0.1, 0.2]))


def test_what_a_rival_does_not_have_is_a_reason():
    class Other(rivals.Rival):
        impl = "other"

    with pytest.raises(rivals.Unavailable, match="other has no LIF"):
        Other().neuron(KIND)
    with pytest.raises(rivals.Unavailable, match="other takes no part in networks"):
        Other().network(torch.nn.Identity())


def test_a_layer_without_an_equivalent_is_a_reason():
    rival = present("spikingjelly")
    with pytest.raises(rivals.Unavailable, match="spikingjelly has no equivalent of Softplus"):
        rival.network(torch.nn.Sequential(torch.nn.Softplus()))


def test_memory_that_a_class_does_not_take_is_a_reason():
    class Plain(LIF):
        def __init__(self, *, memory=None, **values):
            if memory:
                raise TypeError("no such option")
            super().__init__(**values)

    with pytest.raises(rivals.Unavailable, match="Plain has no memory='packed'"):
        rivals.known["SpikeloomPacked"]().neuron(Plain(tau=2.0))


def test_events_are_of_layers():
    with pytest.raises(rivals.Unavailable, match="events are of layers, not of neurons"):
        rivals.known["SpikeloomEvents"]().neuron(LIF())
    net = rivals.known["SpikeloomEvents"]().network(nn.Sequential(LIF(), nn.Linear(4, 3)))
    assert next(m for m in net.modules() if isinstance(m, SNN)).engine == "auto"



def test_a_device_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="bench --device: got 'cuda'; must be cpu here"):
            Place("cuda").settled().__enter__()
    with pytest.raises(ValueError, match="bench --threads: got 0"):
        Place(threads=0).settled().__enter__()
