"""Neurons under the transforms of torch.func."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from spikeloom import SNN, neurons


@pytest.fixture
def snn():
    low = {"threshold": 0.1, "surrogate": "atan"}
    lif, plif, mlf = neurons.LIF(learnable=("decay", "threshold"), **low), neurons.PLIF(**low), neurons.MLF(**low)
    layers = nn.Linear(6, 8), lif, nn.Linear(8, 5), plif, nn.Linear(5, 3), mlf
    return SNN(nn.Sequential(*layers), steps=3).double()


def test_gradients_per_sample(snn):
    x, target = 2 * torch.randn(4, 6, dtype=torch.float64), torch.tensor([0, 2, 1, 1])

    def loss(parameters, x, target):
        return nn.functional.cross_entropy(functional_call(snn, parameters, (x[None],)).mean(0), target[None])

    together = vmap(grad(loss), in_dims=(None, 0, 0))(dict(snn.named_parameters()), x, target)
    assert all(g.any() for g in together.values())
    for i in range(4):
        snn.zero_grad()
        loss(dict(snn.named_parameters()), x[i], target[i]).backward()
        for name, parameter in snn.named_parameters():
            torch.testing.assert_close(together[name][i], parameter.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", neurons.known)
@pytest.mark.parametrize("fires", ["above", "at_or_above"])
def test_over_inputs(name, fires):
    neuron, x = neurons.known[name](fires=fires), torch.randn(5, 2, 3, 4)
    together = vmap(neuron, in_dims=2, out_dims=2)(x)
    assert torch.equal(together, torch.stack([neuron(x[:, :, i]) for i in range(3)], dim=2)) and together.any()


def test_over_parameters():
    neuron, x, decay = neurons.LIF(), torch.randn(5, 2, 30), torch.tensor([0.1, 0.5, 0.9])

    def run(decay):
        return functional_call(neuron, {"decay": decay}, (x,))

    together = vmap(run)(decay)
    assert torch.equal(together, torch.stack([run(d) for d in decay])) and not torch.equal(together[0], together[2])
