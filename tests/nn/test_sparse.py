"""Layers that read spikes, found in a graph and run by events: what is known of their input, the same training, checkpoints, hooks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from spikeloom import IF, LIF, MLF, SNN
from spikeloom.core.errors import ParameterError
from spikeloom.models import ds_resnet
from spikeloom.neurons import Neuron
from spikeloom.nn import again, fuse, sparse
from spikeloom.nn.blocks import SEW
from spikeloom.nn.pool import SpikingMaxPool2d
from spikeloom.nn.sparse import Counts


def vgg():
    net = nn.Sequential()
    for inputs, outputs in ((2, 24), (24, 40), (40, 40)):
        net.extend([nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), LIF(threshold=0.6), nn.MaxPool2d(2)])
    return net.extend([nn.Flatten(), nn.Linear(40, 30), LIF(threshold=0.1), nn.Linear(30, 5)])


def resnet():
    return ds_resnet(8, channels=(16, 24, 32), classes=5, inputs=2)


def trained(net, engine, steps=2, **options):
    """Outputs and gradients of all steps."""
    net = copy.deepcopy(net)
    snn, optimiser, found = SNN(net, 3, engine=engine, **options), torch.optim.SGD(net.parameters(), 0.05), []
    x, made = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    for _ in range(steps):
        y = snn(x)
        optimiser.zero_grad()
        (y * torch.randn(y.shape, generator=made)).sum().backward()
        found += [y.detach(), *(p.grad.clone() for p in net.parameters())]
        optimiser.step()
    return found, snn


def agree(ours, plain):
    for a, b in zip(ours, plain, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-7


@pytest.mark.parametrize("make", [vgg, resnet])
@pytest.mark.parametrize("engine", ["sparse", "auto"])
@pytest.mark.parametrize("memory", ["plain", "packed"])
def test_trains_as_dense_layers_do(make, engine, memory):
    net = make()
    plain, _ = trained(net, "dense")
    ours, snn = trained(net, engine, memory=memory)
    agree(ours, plain)
    if engine == "sparse":
        ways = [way for way in snn.ways().values() if way[3] != "its input is not known to be spikes"]
        assert len(ways) > 3 and all(way[:2] == ("list", "list") and 0 <= way[2] < 1 for way in ways)


def test_channels_last_and_evaluation():
    net = vgg().to(memory_format=torch.channels_last)
    agree(trained(net, "sparse")[0], trained(net, "dense")[0])
    x = torch.rand(4, 2, 8, 8)
    with torch.no_grad():
        agree([SNN(net, 3, engine="sparse").eval()(x)], [SNN(net, 3).eval()(x)])


class Checkpointed(nn.Module):
    def __init__(self, net, count):
        super().__init__()
        self.parts, self.count = nn.ModuleList([net[:6], net[6:]]), count

    def forward(self, x):
        for part in self.parts:
            x = checkpoint(part, x, use_reentrant=False) if self.count else part(x)
        return x


@pytest.mark.parametrize("engine", ["dense", "sparse", "auto"])
@pytest.mark.parametrize("fusion", ["none", "norms"])
def test_checkpoints_inside_the_network(engine, fusion):
    net = vgg()
    plain, ours = (trained(Checkpointed(net, count), engine, fusion=fusion)[0] for count in (0, 2))
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))


def test_a_checkpoint_around_the_network():
    net, x = vgg(), torch.rand(2, 2, 8, 8)
    found = []
    for run in (lambda snn: snn(x), lambda snn: checkpoint(snn, x, use_reentrant=False)):
        snn = SNN(copy.deepcopy(net), 3, engine="sparse")
        run(snn).square().sum().backward()
        found.append([p.grad for p in snn.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_backward_pass_that_fails_leaves_nothing_behind():
    net = vgg()
    snn, x = SNN(net, 3, engine="sparse"), torch.rand(2, 2, 8, 8)

    def fail(grad):
        raise ValueError("on purpose")

    net[0].weight.register_hook(fail)
    with pytest.raises(ValueError, match="on purpose"):
        snn(x).sum().backward()
    again.leave_failed()
    assert not any("forward" in m.__dict__ for m in net.modules())


def test_nothing_of_the_network_changes():
    net = vgg()
    before, names = copy.deepcopy(net.state_dict()), [type(m) for m in net.modules()]
    snn = SNN(net, 3, engine="sparse")
    with torch.no_grad():
        snn.eval()(torch.rand(2, 2, 8, 8))
    assert list(snn.net.state_dict()) == list(before) and [type(m) for m in net.modules()] == names
    assert all(torch.equal(a, before[name]) for name, a in net.state_dict().items())
    with pytest.raises(RuntimeError, match="expected input"):
        snn(torch.rand(2, 3, 8, 8))
    assert not any("forward" in m.__dict__ for m in net.modules())


def test_a_hook_sees_spikes_and_output():
    net, seen = vgg(), []
    net[4].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].unique().tolist(), output.shape)))
    SNN(net, 3, engine="sparse")(torch.rand(2, 2, 8, 8))
    assert seen == [([0, 1], (6, 40, 4, 4))]


def known(net, given=None):
    return {r.name: r.counts for r in sparse.readers(net, fuse.traced(net)[0], given)}


class Kinds(nn.Module):
    """Every operation that is followed, and those that are not."""

    def __init__(self):
        super().__init__()
        self.one, self.many, self.pool, self.leader = LIF(), MLF(levels=3), nn.AvgPool2d([2, 2]), SpikingMaxPool2d(2)
        for name in "abcdefghijklm":
            self.add_module(name, nn.Conv2d(2, 2, 1))
        self.line, self.twice, self.drop, self.odd = nn.Linear(8, 2), nn.Conv2d(2, 2, 1), nn.Dropout(0.5), nn.AvgPool2d(3)
        self.same, self.mirror = nn.Conv2d(2, 2, 1, padding="same"), nn.Conv2d(2, 2, 1, padding_mode="reflect")
        self.smooth = LIF(fires="smooth")

    def forward(self, x):
        s, m, mean = self.one(x), self.many(x), self.pool(self.one(x))
        layers = [self.a(x), self.b(s), self.c(m), self.d(mean), self.e(self.leader(s)), self.f(s + m), self.g(s * m), self.h(s - m)]
        layers += [self.i(torch.cat([s[:, :1], s], 1)[:, 1:]), self.j(self.drop(s)), self.k(self.odd(s)), self.l(self.smooth(x))]
        layers += [self.m(torch.cat([s, m]).contiguous()), self.same(s), self.mirror(s), self.twice(self.twice(s)), self.line(s.flatten(1))]
        return sum(layer.sum() for layer in layers)


def test_what_is_known_of_a_layers_input():
    spikes, quarter = Counts(1), Counts(4, 0.25)
    unknown = dict.fromkeys(["a", "h", "i", "k", "l", "same", "mirror", "twice"])
    expected = unknown | {
        "b": spikes,
        "c": Counts(3),
        "d": quarter,
        "e": spikes,
        "f": Counts(4),
        "g": Counts(3),
        "m": Counts(3),
        "line": spikes,
    }
    net = Kinds()
    assert known(net) == expected | {"j": None}
    assert known(net.eval()) == expected | {"j": spikes}
    assert known(net, Counts(1))["a"] == spikes


@pytest.mark.parametrize("connect, top", [("add", 2), ("and", 1), ("iand", None)])
def test_residual_blocks(connect, top):
    block = SEW(4, 4, neuron=LIF, norm=lambda channels, added=1: nn.BatchNorm2d(channels), connect=connect)
    net = nn.Sequential(IF(), block, nn.Conv2d(4, 4, 1))
    assert known(net)["2"] == (top and Counts(top))


def test_sums_beyond_what_is_packed():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.layer = MLF(levels=8), nn.Conv2d(1, 1, 1)

        def forward(self, x):
            y = self.neuron(x)
            return self.layer(y + y)

    assert known(Deep()) == {"layer": None}


@pytest.mark.parametrize("encoder, first", [("bernoulli", "list"), ("latency", "list"), ("rate", "list"), ("direct", "dense")])
def test_encoders_of_spikes(encoder, first):
    snn = SNN(vgg(), 3, encoder, engine="sparse")
    snn(torch.rand(2, 2, 8, 8))
    assert snn.ways()["0"][0] == first


class Half(Neuron):
    """Not spikes."""

    paper = LIF.paper

    def step(self, x, state, p):
        return x * 0.5, state


def test_a_neuron_that_emits_something_else_stays_dense():
    torch.manual_seed(0)
    net = nn.Sequential(Half(), nn.Conv2d(2, 3, 3))
    snn = SNN(net, 2, engine="sparse")
    x = torch.rand(2, 2, 5, 5)
    torch.testing.assert_close(snn(x)[0], F.conv2d(x * 0.5, net[1].weight, net[1].bias))
    assert snn.ways()["1"] == ("dense", "dense", None, "its input is not 1 times whole numbers from 0 to 1", "dense", None)


def test_what_ways_says():
    net = vgg()
    assert set(SNN(net, 3).ways().values()) == {("dense", "dense", None, "engine='dense'", "dense", None)}
    snn = SNN(net, 3, engine="auto")
    assert snn.ways()["4"] == ("-", "-", None, "not called yet", "-", None)
    assert snn.ways()["0"] == ("dense", "dense", None, "its input is not known to be spikes", "dense", None)
    with torch.autocast("cpu", torch.bfloat16):
        snn(torch.rand(2, 2, 8, 8))
    assert snn.ways()["4"][0] == "dense" and "under autocast" in snn.ways()["4"][3]
    with pytest.raises(ParameterError, match=r"SNN\.engine: got 'quick'"):
        SNN(net, 3, engine="quick")


def test_a_stream_gives_the_sequence_step_by_step():
    net = vgg().eval()
    snn, x = SNN(net, 3, engine="sparse"), torch.rand(2, 2, 8, 8)
    with torch.no_grad():
        stream = snn.stream()
        agree([stream(x) for _ in range(3)], snn(x))


def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net, x, found = vgg(), torch.rand(2, 2, 8, 8), []
        for wrap in (lambda snn: snn, DistributedDataParallel):
            snn = SNN(copy.deepcopy(net), 3, engine="sparse")
            wrap(snn)(x).square().sum().backward()
            found.append([p.grad for p in snn.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    finally:
        torch.distributed.destroy_process_group()


def test_auto_leaves_what_it_judged_dense_alone_for_some_updates(monkeypatch):
    """And between two updates it always does the same, for checkpoints that compute a call again."""
    net, looked, plain = vgg(), [], sparse.Reader.forward
    monkeypatch.setattr(sparse.Reader, "forward", lambda reader, *args: looked.append(reader.name) or plain(reader, *args))
    monkeypatch.setattr(sparse, "EVERY", 4)
    snn, x, optimiser = SNN(net, 3, engine="auto"), torch.rand(2, 2, 8, 8), torch.optim.SGD(net.parameters(), 0.05)
    found = []
    for _ in range(9):
        for _ in range(2):
            looked.clear()
            y = snn(x)
            found.append(list(looked))
        optimiser.zero_grad()
        y.sum().backward()
        optimiser.step()
    every = ["4", "8", "13", "15"]
    assert {way[:2] for way in snn.ways().values()} == {("dense", "dense")}
    assert found == [every if update % 4 == 0 else [] for update in range(9) for _ in range(2)]
    reader = next(r for r in snn._look().spiking if r.name == "8")
    reader.taken = reader.taken._replace(forward="list")
    with torch.no_grad():
        net[4].weight.mul_(1)
    looked.clear()
    snn(x)
    assert looked == ["8"]
