"""Backpropagation through time written out by hand (METHODS A.1) equals autograd to 1e-12; a smooth net equals finite differences."""

import pytest
import torch
from torch import nn

from spikeloom import IF, LIF, MLF, SNN, surrogates

pytestmark = pytest.mark.usefixtures("float64")


def backward(source, u, s, thresholds, derivative, decay, reset, reset_gradient):
    """dL/du `[T, K, ...]` of a raw-drive unit whose levels' spikes are summed, from source = dL/ds `[T, ...]`, u and s `[T, K, ...]`.

    One factor per line of A.1: spike to reset, membrane to reset, spike to membrane.
    """
    grads, later = [], torch.zeros_like(u[0])
    for t in reversed(range(len(u))):
        through_spike = decay * (-u[t] if reset == "zero" else -thresholds)
        through_membrane = decay * ((1 - s[t]) if reset == "zero" else torch.ones_like(s[t]))
        spike = source[t] + (later * through_spike if reset_gradient == "through" else 0)
        later = spike * derivative(u[t] - thresholds) + later * through_membrane
        grads.insert(0, later)
    return torch.stack(grads)


def inside(neuron, x):
    seen = neuron.trace(x)
    return seen["membrane"], (seen["distance"] > 0).double(), (seen["membrane"] - seen["distance"])[0]


@pytest.mark.parametrize("surrogate", sorted(surrogates.known))
def test_every_surrogate(surrogate):
    assert_by_hand(LIF(decay=0.7, surrogate=surrogate))


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("reset_gradient", ["through", "detached"])
@pytest.mark.parametrize("make, options", [(LIF, {"decay": 0.7}), (MLF, {"decay": 0.6}), (IF, {"fires": "above"})])
def test_every_reset(make, options, reset, reset_gradient):
    assert_by_hand(make(**options, reset=reset, reset_gradient=reset_gradient))


def assert_by_hand(neuron):
    x = (torch.randn(9, 4, 6) + 0.5).requires_grad_()
    weights = torch.randn(9, 4, 6)
    (neuron(x) * weights).sum().backward()
    u, s, thresholds = inside(neuron, x.detach())
    decay = getattr(neuron, "decay", torch.tensor(1.0))
    by_hand = backward(weights.unsqueeze(1), u, s, thresholds, neuron.surrogate.derivative, decay, neuron.reset, neuron.reset_gradient)
    torch.testing.assert_close(x.grad, by_hand.sum(1), rtol=1e-12, atol=1e-12)


def two_layers(**options):
    net = nn.Sequential(nn.Linear(5, 8), LIF(decay=0.2, **options), nn.Linear(8, 3), LIF(decay=0.2, **options))
    with torch.no_grad():
        net[2].weight.mul_(3)
    return SNN(net, steps=7, encoder=None)


def loss_of(snn, x, y):
    return (y - snn(x).mean(0)).square().sum() / (2 * len(y))


def test_the_recursion_of_a_two_layer_net():
    snn, x, y = two_layers(), torch.rand(7, 4, 5) * 2, torch.eye(3)[[0, 1, 2, 0]]
    loss_of(snn, x, y).backward()
    one, first, two, last = snn.net
    steps, samples = 7, 4
    rectangle = LIF().surrogate.derivative
    with torch.no_grad():
        current = one(x.flatten(0, 1)).unflatten(0, (7, 4))
        u1, o1, threshold = inside(first_alone(first), current)
        o1 = o1[:, 0]
        u2, o2, _ = inside(first_alone(last), two(o1))
        assert o2.mean() > 0.05, "the example must spike"
        rate = o2[:, 0].mean(0)
        source = (-(y - rate) / (samples * steps)).expand(steps, samples, 3)
        d2 = backward(source.unsqueeze(1), u2, o2, threshold[:1, :, :1], rectangle, 0.2, "zero", "through")[:, 0]
        d1 = backward((d2 @ two.weight).unsqueeze(1), u1, o1.unsqueeze(1), threshold[:1, :, :1], rectangle, 0.2, "zero", "through")[:, 0]
    expected = {
        "weight2": torch.einsum("tbo,tbi->oi", d2, o1), "bias2": d2.sum((0, 1)),
        "weight1": torch.einsum("tbo,tbi->oi", d1, x), "bias1": d1.sum((0, 1)),
    }  # fmt: skip
    got = {"weight2": two.weight.grad, "bias2": two.bias.grad, "weight1": one.weight.grad, "bias1": one.bias.grad}
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def first_alone(neuron):
    """The same neuron, called with `[T, B, ...]`."""
    return LIF(decay=0.2, threshold=neuron.threshold.item())


@pytest.mark.parametrize("surrogate", ["sigmoid", "gaussian", "atan"])
def test_a_smooth_net_against_finite_differences(surrogate):
    snn, x, y = two_layers(fires="smooth", surrogate=surrogate), torch.rand(7, 4, 5) * 2, torch.eye(3)[[0, 1, 2, 0]]
    loss_of(snn, x, y).backward()
    h = 1e-6
    with torch.no_grad():
        for parameter in snn.parameters():
            flat, slopes = parameter.data.view(-1), parameter.grad.view(-1)
            for i in range(0, len(flat), 3):
                value = flat[i].item()
                flat[i] = value + h
                right = loss_of(snn, x, y)
                flat[i] = value - h
                left = loss_of(snn, x, y)
                flat[i] = value
                assert slopes[i].item() == pytest.approx(((right - left) / (2 * h)).item(), rel=1e-6, abs=1e-9)


def test_gradients_cross_a_cut_in_time():
    """A loss on a run in two parts, state handed on, has the gradients of the run in one part."""
    neuron = LIF(decay=0.8, learnable=("decay", "threshold"))
    x, weights = torch.randn(8, 3, 4) + 0.5, torch.randn(8, 3, 4)
    grads = []
    for cut in (8, 3):
        leaf = x.clone().requires_grad_()
        one, state = neuron.run(leaf[:cut])
        spikes = torch.cat([one, neuron.run(leaf[cut:], state)[0]]) if cut < 8 else one
        grads.append(torch.autograd.grad((spikes * weights).sum(), [leaf, neuron.decay, neuron.threshold]))
    for whole, parts in zip(*grads, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
