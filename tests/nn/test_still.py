"""A layer that reads a still image works once: the same numbers and gradients as at every step."""

import pytest
import torch
from torch import nn

from spikeloom import LIF, SNN
from spikeloom.nn import still


class Counted(nn.Module):
    """Two layers that read the input, one that reads it twice, one that reads spikes."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.twice, self.neuron, self.deep = nn.Conv2d(2, 2, 1), LIF(), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        again = self.twice(self.twice(x))
        return self.deep(self.neuron(self.left(x) + self.right(x))).flatten(1).mean(1) + again.flatten(1).mean(1)


@pytest.fixture
def rows(monkeypatch):
    """How many rows each convolution computed."""
    seen = {}
    plain = nn.Conv2d._conv_forward

    def counted(self, x, *rest):
        seen.setdefault(id(self), []).append(len(x))
        return plain(self, x, *rest)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", counted)
    return seen


def test_the_readers_work_once_and_all_others_at_every_step(rows):
    net = Counted()
    SNN(net, 5)(torch.rand(3, 2, 4, 4))
    assert rows == {id(net.left): [3], id(net.right): [3], id(net.twice): [15, 15], id(net.deep): [15]}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_those_of_the_repeated_image(layout):
    torch.manual_seed(0)
    net = Counted().double().to(memory_format=layout)
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64).to(memory_format=layout)
    found = []
    for snn, given in ((SNN(net, 5), x), (SNN(net, 5, None), x.expand(5, *x.shape))):
        net.zero_grad()
        inner = given.clone().requires_grad_()
        y = snn(inner)
        (y * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape)).sum().backward()
        found.append((y, inner.grad if given is x else inner.grad.sum(0), *(p.grad.clone() for p in net.parameters())))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_channels_last_stays_channels_last():
    net = nn.Sequential(nn.Conv2d(2, 8, 3)).to(memory_format=torch.channels_last)
    with still.held(list(net), 4):
        y = net(torch.rand(8, 2, 6, 6).to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_a_hook_sees_every_step():
    net, shapes = nn.Sequential(nn.Linear(6, 3), LIF()), []
    net[0].register_forward_hook(lambda module, inputs, output: shapes.append((inputs[0].shape, output.shape)))
    SNN(net, 4)(torch.rand(2, 6))
    assert shapes == [((8, 6), (8, 3))]


@pytest.mark.parametrize("encoder", ["bernoulli", "latency", "rate"])
def test_other_input_is_computed_at_every_step(encoder, rows):
    net = nn.Sequential(nn.Conv2d(1, 2, 1), LIF())
    SNN(net, 4, encoder)(torch.rand(2, 1, 3, 3))
    assert rows == {id(net[0]): [8]}


def test_the_layers_are_left_as_they_were_even_after_an_error():
    net = nn.Sequential(nn.Linear(6, 3), LIF())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        SNN(net, 4)(torch.rand(2, 5))
    assert "forward" not in net[0].__dict__


def test_a_layer_of_ones_own_and_a_network_without_graph_are_left_alone():
    class Own(nn.Linear):
        pass

    net = nn.Sequential(Own(2, 2), LIF())
    assert still.readers(net, None) == []
    assert SNN(net, 2)._look().readers == []
