"""Spikes that someone looks at or writes to between their neuron and a layer of events; behind pools, and in layers that are used twice."""

import gc

import pytest
import torch
from torch import nn
from trained import agree, gradients, vgg

from spikeloom import LIF, MLF, SNN


class Looked(nn.Module):
    """A neuron and a convolution, and somebody who looks at the spikes between them."""

    def __init__(self, how, pool):
        super().__init__()
        self.first, self.neuron, self.conv, self.how = nn.Conv2d(2, 16, 3, padding=1), LIF(), nn.Conv2d(16, 8, 3), how
        self.pool = pool
        self.seen = []
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        spikes = self.neuron(self.first(x))
        if self.how == "before":
            spikes.register_hook(self.seen.append)
        y = self.conv(self.pool(spikes))
        if self.how == "after":
            spikes.register_hook(self.seen.append)
        if self.how in ("held", "retained"):
            self.seen = [spikes]
        if self.how == "retained":
            spikes.retain_grad()
        return y.flatten(1)


@pytest.mark.parametrize("how", ["before", "after", "held", "retained", "nobody"])
@pytest.mark.parametrize("pool", [nn.Identity(), nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1)])
def test_who_looks_at_the_gradient_gets_all_of_it(how, pool, calls):
    net, x = Looked(how, pool), torch.randn(3, 2, 7, 7)
    seen = []
    for engine in ("dense", "sparse"):
        net.seen = []
        y = SNN(net, 2, engine=engine)(x)
        gc.collect()
        if how == "held":
            seen.append(torch.autograd.grad(y.sum(), net.seen[0])[0])
            continue
        y.sum().backward()
        seen.append(net.seen[0].grad if how == "retained" else net.seen[0] if net.seen else None)
    assert len(calls) == (how == "nobody")
    if how != "nobody":
        torch.testing.assert_close(seen[1], seen[0])


def silenced(module, args, spikes):
    spikes.data[:, :3] = 0


class Written(nn.Module):
    """Somebody writes to the spikes, so that they are not what the neuron's kernel wrote."""

    def __init__(self, how):
        super().__init__()
        self.first, self.neuron, self.pool, self.conv = nn.Conv2d(2, 16, 3, padding=1), LIF(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3)
        self.how = how
        self.to(memory_format=torch.channels_last)
        if how == "hook":
            self.neuron.register_forward_hook(silenced)
        if how == "layer's":
            self.conv.register_forward_pre_hook(lambda module, args: silenced(module, (), *args))
        if how == "pool's":
            self.pool.register_forward_hook(silenced)

    def forward(self, x):
        spikes = self.neuron(self.first(x))
        if self.how == "data":
            spikes.data.mul_(torch.arange(16).view(-1, 1, 1) % 2)
        if self.how == "in place":
            with torch.no_grad():
                spikes.mul_(torch.arange(16).view(-1, 1, 1) % 2)
        return self.conv(self.pool(spikes)).flatten(1)


@pytest.mark.parametrize("how", ["hook", "pool's", "layer's", "data", "in place"])
def test_who_writes_to_the_spikes_is_heard(how):
    net, x = Written(how), torch.randn(3, 2, 7, 7)
    dense, sparse = (SNN(net, 2, engine=engine)(x) for engine in ("dense", "sparse"))
    torch.testing.assert_close(sparse, dense)


class Twice(nn.Module):
    """Counts that a pool and two layers read, each of them twice; sizes are odd."""

    def __init__(self):
        super().__init__()
        self.first, self.neuron, self.pool = nn.Conv2d(2, 16, 3, 1, (1, 2)), MLF(levels=3), nn.MaxPool2d(3, 2, (0, 1))
        self.conv, self.last = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 4)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        spikes = self.neuron(3 * self.first(x))
        pooled = self.pool(spikes)
        again = self.pool(self.neuron(self.conv(pooled)))
        return self.last(self.conv(again).mean((2, 3)) + self.conv(spikes).mean((2, 3)))


def test_counts_pools_and_layers_used_twice(calls):
    net = Twice()
    (ours, snn), (plain, _) = gradients(net, "sparse"), gradients(net, "dense")
    agree(ours, plain)
    assert len(calls) == 3 and snn.ways()["conv"].forward == "list"


def test_a_step_is_taken_again_and_its_graph_kept():
    net = vgg(pool=True)
    snn = SNN(net, 3, engine="sparse")
    loss = snn(torch.rand(4, 2, 8, 8)).square().sum()
    first, second = (torch.autograd.grad(loss, list(net.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
