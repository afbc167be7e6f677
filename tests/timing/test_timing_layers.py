"""Layers, pool, readout and encoder of spike times; windowed neurons; what they refuse; that a network of them learns."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikeloom import SNN, models
from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.nn.encoders import FirstSpike
from spikeloom.timing import (
    FirstSpikePool2d,
    FirstSpikeReadout,
    RelPSPConv2d,
    RelPSPLinear,
    WindowedConv2d,
    WindowedLinear,
    relpsp_conv2d_times,
    relpsp_times,
    windowed_membrane,
    windowed_times,
)

inf, nan = math.inf, math.nan


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("stride, padding", [((1, 1), (0, 0)), ((2, 1), (1, 2))])
def test_convolution_is_the_linear_layer_on_every_patch(float64, stride, padding):
    t = torch.rand(3, 2, 7, 6)
    t[torch.rand(t.shape) < 0.2] = inf
    t.requires_grad_()
    w = (torch.randn(5, 2, 3, 2) * 0.3 + 0.3).requires_grad_()
    options = {"silent": "push", "push": 0.1}
    out = relpsp_conv2d_times(t, w, 1.0, 4.0, stride=stride, padding=padding, **options)
    wide = F.pad(t, (padding[1], padding[1], padding[0], padding[0]), value=inf)
    windows = wide.unfold(2, 3, stride[0]).unfold(3, 2, stride[1])  # [B, C, H', W', kh, kw]
    rows = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
    patches = relpsp_times(rows, w.flatten(1), 1.0, 4.0, **options)
    expected = patches.view(3, *windows.shape[2:4], 5).permute(0, 3, 1, 2)
    assert out.shape == expected.shape
    assert torch.allclose(out, expected, rtol=1e-12)
    assert out.isinf().any() and out.isfinite().any()
    g = torch.randn_like(out)
    found = torch.autograd.grad(out.where(out.isfinite(), 0.0).mul(g).sum(), (t, w))
    wanted = torch.autograd.grad(expected.where(expected.isfinite(), 0.0).mul(g).sum(), (t, w))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, wanted, strict=True))


@pytest.mark.usefixtures("implementation")
def test_nobody_fires_after_the_end():
    t, w = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.5, 1.0], [0.25, 1.0], [0.2, 0.0]], requires_grad=True)
    assert relpsp_times(t, w)[0].tolist() == pytest.approx([2, 3.2, 5])
    out = relpsp_times(t, w, until=3.1)
    assert out[0].tolist() == [2, inf, inf]
    out[0, 0].backward()
    assert not w.grad[1:].any()


def test_the_pool_passes_the_earliest_spike_and_its_gradient():
    t = torch.tensor([[[[3.0, 1.0, inf, inf], [2.0, inf, inf, inf]]]], requires_grad=True)
    out = FirstSpikePool2d(2)(t)
    assert out.tolist() == [[[[1.0, inf]]]]
    out[..., 0].backward(torch.ones(1, 1, 1))
    assert t.grad.nonzero().tolist() == [[0, 0, 0, 1]]
    assert "stride=None" in repr(FirstSpikePool2d(2))


def test_the_worked_loss(float64):
    # METHODS H.2: t = (3, 2, 4), class 0
    t = torch.tensor([[3.0, 2.0, 4.0]], requires_grad=True)
    loss = F.cross_entropy(FirstSpikeReadout()(t), torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(sum(math.exp(3 - s) for s in (3, 2, 4))), abs=1e-9)
    assert loss.item() == pytest.approx(1.407606, abs=5e-7)
    assert t.grad[0].tolist() == pytest.approx([0.755272, -0.665241, -0.090031], abs=5e-7)


def test_silent_outputs_score_below_every_spike():
    t = torch.tensor([[3.0, inf, 5.0], [inf, inf, inf]], requires_grad=True)
    scores = FirstSpikeReadout(after=2.0)(t)
    assert scores.tolist() == [[-3, -7, -5], [-2, -2, -2]]
    scores.sum().backward()
    assert t.grad.tolist() == [[-1, 0, -1], [0, 0, 0]]
    assert torch.equal(FirstSpikeReadout(0.5, 2.0)(t), 2 * scores)
    assert "unit=0.5, after=2" in repr(FirstSpikeReadout(0.5, 2.0))
    with pytest.raises(ParameterError, match=r"FirstSpikeReadout.unit: got 0; must be in \(0, inf\)"):
        FirstSpikeReadout(0)
    with pytest.raises(ParameterError, match=r"FirstSpikeReadout.after: got -1; must be in \(0, inf\)"):
        FirstSpikeReadout(after=-1)


def test_encoder_by_hand():
    x = torch.tensor([1.0, 0.75, 0.0])
    assert FirstSpike(window=4)(x, 1).tolist() == [[0, 1, inf]]
    assert FirstSpike(window=4, dark="latest")(x, 1).tolist() == [[0, 1, 4]]
    assert SNN(nn.Identity(), 1, "first_spike")(x.view(1, 3)).shape == (1, 1, 3)
    with pytest.raises(ParameterError, match="FirstSpike steps: got 4; must be 1; times need no grid"):
        SNN(nn.Identity(), 4, "first_spike")(x.view(1, 3))
    with pytest.raises(ShapeError, match=r"FirstSpike input: got 'values from 0.25 to 1.5'; must be in \[0, 1\]"):
        FirstSpike()(torch.tensor([0.25, 1.5]), 1)
    with pytest.raises(ParameterError, match=r"FirstSpike.window: got 0; must be in \(0, inf\)"):
        FirstSpike(window=0)
    with pytest.raises(ParameterError, match="FirstSpike.dark: got 'black'; must be one of 'silent', 'latest'"):
        FirstSpike(dark="black")


def test_the_start_has_the_mean_and_the_spread_that_are_asked_for():
    layer = RelPSPLinear(400, 500, threshold=2.0, mean=3.0, spread=0.5)
    sums = layer.weight.detach().sum(1)
    assert sums.mean().item() == pytest.approx(6, abs=5 * 1 / 500**0.5)
    assert sums.std().item() == pytest.approx(1, rel=0.2)
    before = layer.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.weight)
    assert "threshold=2" in repr(layer)


def test_the_worked_neuron_under_a_falling_threshold(float64):
    # METHODS H.2: t = (.2, .5), w = (.6, .3), the window ends at 2
    t, w = torch.tensor([[0.2, 0.5]]), torch.tensor([[0.6, 0.3]])
    when = windowed_times(t, w, 1.0, 2.0).item()
    assert when == pytest.approx(1.1947368421, abs=1e-9)
    potential = 0.6 * (when - 0.2) + 0.3 * (when - 0.5)
    assert potential == pytest.approx(2 - when, abs=1e-9)
    assert potential == pytest.approx(0.8052631579, abs=1e-9)
    assert windowed_membrane(t, w, 1.0, 2.0).item() == pytest.approx(0.6 * 1.8 + 0.3 * 1.5, abs=1e-12)


def test_the_ends_of_the_window(float64):
    t = torch.tensor([[0.0, 0.5]])
    w = torch.tensor([[2.0, 1.0], [-0.5, -0.1], [-2.0, -2.0], [0.0, 0.0], [-1.0, 4.0]], requires_grad=True)
    out = windowed_times(t, w, 1.0, 2.0)
    # above the threshold 1 when it opens: V = 2.5; below 0 at the end; a slope that falls faster; nothing; V(1) = 1, the boundary
    assert out[0].tolist() == [1, inf, inf, 2, 1]
    out[0, [0, 3, 4]].sum().backward()
    assert not w.grad[[0, 1, 2, 4]].any()
    assert w.grad[3].tolist() == pytest.approx([-2, -1.5])  # (t_i - t_j) / 1
    assert windowed_times(torch.tensor([[inf, inf]]), w, 1.0, 2.0).tolist() == [[2] * 5]


def test_windowed_gradients_against_finite_differences(float64):
    t = torch.rand(4, 6).requires_grad_()
    w = (torch.randn(5, 6) * 0.2 + 0.1).requires_grad_()

    def objective(t, w):
        out = windowed_times(t, w, 1.0, 2.0)
        return out.where(out.isfinite(), 0.0).square().sum()

    assert torch.autograd.gradcheck(objective, (t, w))


def test_windowed_layers(float64):
    conv = WindowedConv2d(2, 3, 3, stride=2, padding=1, start=1.0, window=0.5)
    t = torch.rand(2, 2, 5, 5)
    t[torch.rand(t.shape) < 0.3] = inf
    wide = F.pad(t, (1, 1, 1, 1), value=inf).unfold(2, 3, 2).unfold(3, 3, 2).permute(0, 2, 3, 1, 4, 5)
    patches = windowed_times(wide.reshape(-1, 18), conv.weight.flatten(1), 1.0, 1.5)
    assert torch.allclose(conv(t), patches.view(2, 3, 3, 3).permute(0, 3, 1, 2))
    net = nn.Sequential(WindowedLinear(6, 4, start=1.0), WindowedLinear(4, 3, start=2.0, emits="membrane"))
    scores = net(torch.rand(2, 6))
    assert scores.shape == (2, 3) and scores.isfinite().all()
    assert "window=[2, 3], emits='membrane'" in repr(net)
    with pytest.raises(ParameterError, match="WindowedLinear.emits: got 'rates'; must be one of 'times', 'membrane'"):
        WindowedLinear(6, 4, start=1.0, emits="rates")


@pytest.mark.parametrize("depth", ["mlp", "cnn"])
def test_a_network_learns_through_the_shell(depth):
    options = {"hidden": 30} if depth == "mlp" else {"channels": (4, 6), "hidden": (30, 20), "size": 18}
    side = 28 if depth == "mlp" else 18
    snn = SNN(models.known[f"relpsp_{depth}"](classes=3, **options), steps=1, encoder="first_spike")
    x = torch.zeros(24, 1, side, side)
    labels = torch.arange(24) % 3
    for k, image in enumerate(x):  # a bright bar at one of three heights
        image[0, 5 * (k % 3) + 2 : 5 * (k % 3) + 5] = 0.5 + 0.5 * torch.rand(3, side)
    optimiser = torch.optim.Adam(snn.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        loss = F.cross_entropy(snn(x).mean(0), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(snn.parameters(), 1.0)
        optimiser.step()
    assert (snn(x).mean(0).argmax(1) == labels).all()


T, W = torch.rand(2, 3), torch.rand(4, 3)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: relpsp_times(T[0], W), ShapeError, r"relpsp_times t_in and weight: got '\[3\] and \[4, 3\]'; must be \[B, in\]"),
        (lambda: relpsp_times(T, W[:, :2]), ShapeError, r"got '\[2, 3\] and \[4, 2\]'; must be \[B, in\] and \[out, in\]"),
        (lambda: relpsp_times(T, W.double()), ParameterError, "dtypes: got 'torch.float32 and torch.float64'; must be both float32"),
        (lambda: relpsp_times(T.half(), W.half()), ParameterError, "dtypes: got 'torch.float16 and torch.float16'"),
        (lambda: relpsp_times(T * nan, W), ParameterError, "relpsp_times t_in: got 'NaN or minus infinity'; must be times"),
        (lambda: relpsp_times(T - inf, W), ParameterError, "relpsp_times t_in: got 'NaN or minus infinity'"),
        (lambda: relpsp_times(T, W, 0.0), ParameterError, r"relpsp_times threshold: got 0.0; must be in \(0, inf\)"),
        (lambda: relpsp_times(T, W, -1.0), ParameterError, r"relpsp_times threshold: got -1.0; must be in \(0, inf\)"),
        (lambda: relpsp_times(T, W, nan), ParameterError, "relpsp_times threshold: got nan"),
        (lambda: relpsp_times(T, W, until=nan), ParameterError, "relpsp_times until: got nan"),
        (lambda: relpsp_times(T, W, silent="shout"), ParameterError, "relpsp_times silent: got 'shout'; must be one of 'none', 'push'"),
        (lambda: relpsp_times(T, W, silent="push", push=-1), ParameterError, "relpsp_times push: got -1"),
        (lambda: relpsp_conv2d_times(T, W), ShapeError, r"relpsp_conv2d_times t_in and weight: got '\[2, 3\] and \[4, 3\]'"),
        (
            lambda: relpsp_conv2d_times(torch.rand(1, 1, 2, 2), torch.rand(1, 1, 3, 3)), ShapeError,
            r"t_in: got \[1, 1, 2, 2\]; must be at least as large as the window \[3, 3\], padded",
        ),
        (lambda: RelPSPLinear(0, 3), ParameterError, "RelPSPLinear size: got 0; must be a whole number of at least 1"),
        (lambda: RelPSPLinear(2, 3, mean=0), ParameterError, r"RelPSPLinear.mean: got 0; must be in \(0, inf\)"),
        (lambda: RelPSPLinear(2, 3, spread=-1), ParameterError, "RelPSPLinear.spread: got -1"),
        (lambda: RelPSPConv2d(1, 2, 3, silent="no"), ParameterError, "RelPSPConv2d.silent: got 'no'"),
        (lambda: RelPSPConv2d(1, 2, 3, stride=0), ParameterError, r"Conv2d stride, padding: got \(\(0, 0\), \(0, 0\)\); must be a stride"),
        (lambda: RelPSPConv2d(1, 2, 3, padding=-1), ParameterError, "RelPSPConv2d stride, padding"),
        (lambda: relpsp_conv2d_times(T.view(1, 1, 2, 3), W.view(3, 1, 2, 2), stride=(0, 1)), ParameterError, "conv2d_times stride, pad"),
        (lambda: WindowedConv2d(1, 2, 3, stride=0, start=1.0), ParameterError, "WindowedConv2d stride, padding"),
        (lambda: windowed_times(T, W[:, :2], 1, 2), ShapeError, r"windowed t_in and weight: got '\[2, 3\] and \[4, 2\]'"),
        (lambda: windowed_times(T, W, 2, 1), ParameterError, r"windowed start, end: got \(2, 1\); must be finite, the end after the start"),
        (lambda: windowed_times(T + 1.5, W, 1, 2), ParameterError, 't_in: got "times after the window.s start, or NaN"; must be at most 1'),
        (lambda: windowed_times(T * nan, W, 1, 2), ParameterError, "windowed t_in"),
        (lambda: windowed_membrane(T - inf, W, 1, 2), ParameterError, "windowed t_in"),
    ],
)  # fmt: skip
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
