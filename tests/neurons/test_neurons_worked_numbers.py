"""The worked numbers of METHODS A.4, B.6, C.3: spikes, membranes, losses and gradients computed by hand."""

import math

import pytest
import torch

from spikeloom import IF, LIF, MLF, PLIF, SNN
from spikeloom.nn import losses


def column(*values):
    return torch.tensor(values).view(-1, 1)


def train(neuron, *values):
    return neuron(column(*values)).flatten().tolist()


def test_stbp_single_neuron_loss_and_gradient(float64):
    x = column(0.3, 0.3, 0.3, 0.45, 0.6, 0.1, 0.95, 0.2).requires_grad_()
    spikes = LIF(decay=0.2, threshold=0.5, surrogate="rectangle")(x)
    assert spikes.flatten().tolist() == [0, 0, 0, 1, 1, 0, 1, 0]
    loss = losses.rate_mse(spikes.unsqueeze(2), torch.tensor([0]))
    assert loss.item() == 0.390625
    loss.backward()
    expected = column(-0.181244864, -0.178534743, -0.174099556, -0.1421143, -0.13477975, -0.17891875, -0.1259375, -0.15625)
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=5.1e-10)


def two_two_one():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), LIF(), torch.nn.Linear(2, 1, bias=False), LIF())
    net[0].weight.data = torch.tensor([[0.6, 0.2], [0.1, 0.7]])
    net[2].weight.data = torch.tensor([[0.5, 0.4]])
    return SNN(net, steps=3, encoder=None)


def test_stbp_two_two_one_net(float64):
    snn = two_two_one()
    hidden = []
    snn.net[1].register_forward_hook(lambda module, args, output: hidden.append(output))
    x = torch.tensor([[1.0, 0], [0, 1], [1, 1]]).unsqueeze(1)
    outputs = snn(x)
    assert hidden[0].tolist() == [[1, 0], [0, 1], [1, 1]]
    assert outputs.flatten().tolist() == [0, 0, 1]
    assert snn.net[3].trace(snn.net[2](hidden[0]), steps=3)["membrane"].flatten().tolist() == pytest.approx([0.5, 0.5, 1.0], abs=1e-15)
    loss = (outputs.mean() - 1).square()
    assert loss.item() == pytest.approx(4 / 9, abs=1e-12)
    loss.backward()
    first = torch.tensor([[-0.2177778, -0.2222222], [-0.2275556, -0.1777778]])
    torch.testing.assert_close(snn.net[0].weight.grad, first, rtol=0, atol=5.1e-8)
    torch.testing.assert_close(snn.net[2].weight.grad, torch.tensor([[-0.4888889, -0.4444444]]), rtol=0, atol=5.1e-8)


def test_mlf_stream(float64):
    seen = MLF().trace(column(0.5, 0.5, 0.7, 1.7, 2.7, -0.3, 0.62))
    assert seen["spikes"].flatten().tolist() == [0, 1, 1, 2, 3, 0, 0]
    membrane = seen["membrane"].squeeze(2)
    assert membrane.shape == (7, 3)
    torch.testing.assert_close(membrane[3], torch.tensor([1.7, 1.914062, 1.914062]), rtol=0, atol=5.1e-7)
    torch.testing.assert_close(membrane[4], torch.tensor([2.7, 2.7, 3.178516]), rtol=0, atol=5.1e-7)
    torch.testing.assert_close(membrane - seen["distance"].squeeze(2), torch.tensor([0.6, 1.6, 2.6]).expand(7, 3))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_mlf_first_step_gradient_is_one_inside_the_tiles_and_zero_at_their_seams(levels, float64):
    # thresholds 5/8, 13/8, 21/8 put the seams on exact numbers; the paper's .6 is a shift of them by 1/40
    x = torch.arange(-64, 320).view(1, -1) / 64
    x.requires_grad_()
    MLF(levels=levels, threshold=0.625)(x).sum().backward()
    low, seams = 0.125, [0.125 + k for k in range(levels + 1)]
    inside = (x > low) & (x < low + levels) & ~torch.isin(x, torch.tensor(seams))
    assert torch.equal(x.grad, inside.to(x.dtype))
    assert all(x.grad[0, (x[0] == seam).nonzero().item()] == 0 for seam in seams)


@pytest.mark.parametrize("levels, high", [(1, 1.1), (2, 2.1), (3, 3.1)])
def test_mlf_support_with_the_papers_constants(levels, high, float64):
    x = torch.linspace(-0.5, 3.5, 4001)[None] + 1e-4
    x.requires_grad_()
    MLF(levels=levels)(x).sum().backward()
    assert torch.equal(x.grad, ((x > 0.1) & (x < high)).to(x.dtype))


@pytest.mark.parametrize("levels, printed", [(1, 0.400), (2, 0.434), (3, 0.434)])
def test_mlf_share_of_live_gradients_at_the_start(levels, printed):
    n = 400_000
    x = (0.6 * torch.randn(1, n)).requires_grad_()
    MLF(levels=levels)(x).sum().backward()
    exact = 0.5 * (math.erf((0.1 + levels) / 0.6 / math.sqrt(2)) - math.erf(0.1 / 0.6 / math.sqrt(2)))
    assert exact == pytest.approx(printed, abs=5e-4)
    assert (x.grad != 0).double().mean().item() == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / n))


BINARY = (1, 0, 1, 1, 0, 0, 1)


@pytest.mark.parametrize(
    "neuron, expected",
    [
        (IF(threshold=1.0), BINARY),
        (IF(threshold=0.25), BINARY),
        (LIF(tau=2.0, threshold=1.0, fires="at_or_above"), (0,) * 7),
        (LIF(tau=2.0, threshold=0.5, fires="at_or_above"), BINARY),
        (LIF(tau=4.0, threshold=0.5, fires="at_or_above"), (0, 0, 0, 1, 0, 0, 0)),
        (PLIF(tau=2.0, threshold=0.5), BINARY),
        (PLIF(tau=4.0, threshold=0.5), (0, 0, 0, 1, 0, 0, 0)),
    ],
    ids=repr,
)
def test_what_a_binary_train_becomes(neuron, expected):
    assert tuple(train(neuron, *map(float, BINARY))) == expected


def test_at_or_above_and_above_part_on_the_threshold():
    assert train(IF(), 1.0) == [1]
    assert train(IF(fires="above"), 1.0) == [0]
    assert train(LIF(), 0.5) == [0]
    assert train(LIF(fires="at_or_above"), 0.5) == [1]


@pytest.mark.parametrize(
    "threshold, spike, slope",
    [(1.0, 1, 1.0), (1.0, 0, 0.092), (0.5, 1, 0.2884), (0.5, 0, 0.2884), (0.75, 1, 0.6185), (0.75, 0, 0.1526)],
)
def test_gradient_through_an_if_neuron_is_atans(threshold, spike, slope):
    x = column(float(spike)).requires_grad_()
    IF(threshold=threshold)(x).sum().backward()
    assert x.grad.item() == pytest.approx(slope, abs=5.1e-5)


def test_plif_starts_at_tau_and_trains_w():
    neuron = PLIF(tau=4.0)
    assert neuron.w.item() == pytest.approx(-math.log(3))
    assert neuron.values()["leak"].item() == pytest.approx(0.25)
    neuron(column(1.0, 2.0, 3.0)).sum().backward()
    assert neuron.w.grad.isfinite()
    assert neuron.w.grad != 0
    assert PLIF(tau=[2.0, 4.0]).w.shape == (2,)


def test_thirty_tenths_in_floating_point(float64):
    # .3 a hundred times with >= 1 and soft reset: 30 spikes in real numbers, fewer in float64 (0.9999... < 1)
    v, count = 0.0, 0
    for _ in range(100):
        v += 0.3
        if v >= 1:
            v, count = v - 1, count + 1
    assert count < 30
    assert IF(reset="subtract")(torch.full((100, 1), 0.3)).sum() == count
