"""Networks out of the ordinary: what has no form on events is computed densely, and the rest is not."""

import pytest
import torch
from torch import nn

import spikeloom
from spikeloom.engine.bits import join, pack, unpack
from spikeloom.infer.gate import Gate
from spikeloom.infer.values import Events
from spikeloom.neurons import IF, LIF, AugIF, SignedIF
from spikeloom.nn.pool import SpikingMaxPool2d
from spikeloom.nn.snn import SNN


def soft():
    return IF(reset="subtract", threshold=0.5)


class Forks(nn.Module):
    """One current with three readers; a neuron that is called twice; the input itself in a sum; spikes as the output."""

    def __init__(self):
        super().__init__()
        self.conv, self.back = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.one, self.two, self.shared = soft(), LIF(decay=0.5, threshold=0.25), soft()

    def forward(self, x):
        y = self.conv(x)
        a, b = self.shared(self.one(y) + x), self.two(y)
        return self.shared(self.back(a + b) + y)


class Joined(nn.Module):
    """Concatenations of whole words, of parts of words, of signed with plain spikes, of spikes with currents."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 64, 1), nn.Conv2d(3, 5, 1)
        self.a, self.b, self.c = soft(), SignedIF(slope=0.5), soft()
        self.mix, self.head = nn.Conv2d(69 + 69 + 5, 8, 1), nn.Linear(8, 3)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()

    def forward(self, x):
        y = self.second(x)
        a, b = self.a(self.first(x)), self.b(y)
        return self.head(self.flat(self.pool(self.c(self.mix(torch.cat([a, b, torch.cat((b, a), dim=1), y], 1))))))


class Mixed(nn.Module):
    """Calls of functions that have no stage between two layers that have."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 3)
        self.one, self.two = soft(), soft()

    def forward(self, x):
        y = self.one(self.a(x))
        y = self.two(self.b(y) * 0.5 + y)
        return self.head(y.mean((2, 3)))


def chain(*layers):
    """A function that makes them in a row."""
    return lambda: nn.Sequential(*(layer() if layer in (soft, nn.Flatten) else layer for layer in layers))


NETS = {
    "forks": (Forks, (3, 5, 7)),
    "joined": (Joined, (3, 4, 4)),
    "functions": (Mixed, (3, 4, 4)),
    "vectors": (chain(nn.Linear(7, 70), nn.BatchNorm1d(70, eps=0.0), soft, nn.Linear(70, 9), soft, nn.Linear(9, 2)), (7,)),
    "one dimension": (chain(nn.Conv1d(3, 8, 3), soft, nn.AvgPool1d(2), nn.Conv1d(8, 4, 3), soft, nn.Flatten), (3, 18)),
    "three dimensions": (chain(nn.Conv3d(1, 4, 3), soft, nn.Conv3d(4, 2, 2), soft, nn.Flatten), (1, 6, 6, 6)),
    "resized": (
        chain(
            nn.Conv2d(3, 8, 3, 2), soft, nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.Conv2d(8, 4, 3), soft,
            nn.ConvTranspose2d(4, 2, 2, 2), soft, nn.Flatten,
        ), (3, 9, 9),
    ),
    "pools": (
        chain(
            nn.Conv2d(3, 8, 3), soft, nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.Conv2d(8, 8, 3, dilation=2, padding=2), soft,
            nn.MaxPool2d(2, dilation=2), nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.Conv2d(8, 4, 1), soft,
            nn.AdaptiveAvgPool2d((2, None)), nn.Flatten, soft, nn.LazyLinear(3),
        ), (3, 12, 11),
    ),
    "paddings": (
        chain(
            nn.Conv2d(3, 8, 3, padding="same"), soft, nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), soft,
            nn.Conv2d(8, 8, (3, 1), padding="valid"), soft, nn.Dropout2d(), nn.Identity(), nn.Conv2d(8, 2, 5, (2, 3), 4), soft,
        ), (3, 7, 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("encoder", ["direct", "rate"])
def test_same_as_the_network(name, encoder, dyadic, images):
    make, shape = NETS[name]
    net, x = make(), images(3, *shape)
    net.eval()(x)
    snn = SNN(dyadic(net), 5, encoder)
    runner, wanted = spikeloom.compile(snn), snn(x)
    assert wanted.abs().max() > 0
    torch.testing.assert_close(runner(x), wanted, rtol=0, atol=0)
    runner.chunk = 2
    torch.testing.assert_close(runner(x), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [(64, 5), (128, 64), (3, 70, 1)])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_joined_bits(channels, shape):
    parts = [torch.randint(-2 * (k % 2), 2 + k, (4, c, *shape)).float() for k, c in enumerate(channels)]
    bits = [pack(p, 1 + k, bool(k % 2)) for k, p in enumerate(parts)]
    assert torch.equal(unpack(join(bits)), torch.cat(parts, 1))


@pytest.mark.parametrize("passes", ["leader", "increase"])
@pytest.mark.parametrize("window", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}])
def test_gates_on_bits(passes, window):
    """Against torch's own counts: chunks, streams, more than a word of channels, ties and long leads."""
    pool = SpikingMaxPool2d(**window, passes=passes)
    x = (torch.rand(12, 3, 70, 6, 7) < torch.rand(3, 70, 6, 7)).float()
    stage, steps = Gate(("",), pool), 12
    wanted = pool._gate(x.flatten(0, 1), steps, None)[0]
    assert 0 < wanted.mean() < 1
    found, _ = stage.run([Events(pack(x.flatten(0, 1)))], steps, None)
    assert torch.equal(found.dense(), wanted) and stage.reason == ""
    state, rows = None, []
    for part in (x[:1], x[1:6], x[6:]):
        value, state = stage.run([Events(pack(part.flatten(0, 1)))], len(part), state)
        rows.append(value.dense())
    assert torch.equal(torch.cat(rows), wanted)
    _, state = stage.run([Events(pack(x[:6].flatten(0, 1)))], 6, None)  # then a chunk that is no bits
    value, _ = stage.run([x[6:].flatten(0, 1)], 6, state)
    assert torch.equal(value.dense(), wanted[18:]) and "no plain spikes" in stage.reason


def test_gates_that_stay_dense(dyadic, images):
    """Signed spikes, counts, dilated windows, rounding up."""
    for neuron, window in ((SignedIF(slope=0.5), {}), (soft(), {"dilation": 2}), (soft(), {"ceil_mode": True}), (AugIF(), {})):
        net = nn.Sequential(nn.Conv2d(3, 8, 3), neuron, SpikingMaxPool2d(2, **window), nn.Conv2d(8, 4, 1), soft(), nn.Flatten())
        snn, x = SNN(dyadic(net), 5), images(2, 3, 9, 9)
        assert torch.equal(spikeloom.compile(snn)(x), snn(x))


@pytest.mark.parametrize("groups", [2, 64])
def test_groups_take_the_operators_on_events(groups, dyadic):
    """Few spikes: the currents of groups of channels and of single ones are sums of events, too."""
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=groups), soft(), nn.Conv2d(64, 5, 1))
    snn, x = SNN(dyadic(net), 4, None), (torch.rand(4, 3, 64, 8, 8) < 0.02).float()
    runner = spikeloom.compile(snn)
    assert torch.equal(runner(x), snn(x))
    assert runner.explain()[0].reason == ""


@pytest.mark.parametrize("side", [9, 28])
def test_one_channel_of_random_spikes_is_looked_up(side):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 12, 5), soft(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12 * ((side - 4) // 2) ** 2, 3))
    for p in net.parameters():
        p.data = (p.data * 64).round() / 64  # sums of these are exact in any order
    snn, x = SNN(net, 6, "bernoulli"), torch.rand(5, 1, side, side)
    runner = spikeloom.compile(snn)
    torch.manual_seed(1)
    wanted = snn(x)
    torch.manual_seed(1)
    assert torch.equal(runner(x), wanted)
    (laid,) = runner.stages["1"].terms[0]._laid.values()
    assert "tables" in vars(laid) and runner.explain()[0].way == "fused"
