"""tdBN against METHODS E and B.2: worked numbers, both places of epsilon, BatchNorm as the degenerate case, folding."""

import math

import pytest
import torch
from torch import nn

from spikeloom import IF, LIF
from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.nn.norms import TdBN


@pytest.mark.parametrize(
    "epsilon, outer, inner", [("inside", 0.67081771, 0.22360590), ("outside", 0.67081439, 0.22360480)]
)
def test_one_channel_of_one_two_three_four(epsilon, outer, inner, float64):
    y = TdBN(1, threshold=0.5, epsilon=epsilon)(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    assert y.flatten().tolist() == pytest.approx([-outer, -inner, inner, outer], abs=5.1e-9)


@pytest.mark.parametrize("epsilon, divisor", [("outside", 1.01e-3), ("inside", math.sqrt(1.1e-5))])
def test_epsilon_matters_where_the_variance_is_tiny(epsilon, divisor, float64):
    y = TdBN(1, threshold=1.0, epsilon=epsilon)(torch.tensor([[1e-3], [-1e-3]]))
    assert y[0].item() == pytest.approx(1e-3 / divisor, rel=1e-12)


def pair(channels, spatial, affine="learned", epsilon="inside"):
    """A tdBN with alpha * threshold = 1 and the BatchNorm it must equal, with random weights."""
    ours = TdBN(channels, threshold=0.5, alpha=2.0, affine=affine, epsilon=epsilon)
    theirs = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(channels, affine=affine == "learned")
    if affine == "learned":
        for name in ("weight", "bias"):
            value = torch.randn(channels)
            getattr(ours, name).data, getattr(theirs, name).data = value.clone(), value.clone()
    return ours, theirs


@pytest.mark.parametrize("shape", [(24, 3), (24, 3, 5, 4)])
@pytest.mark.parametrize("affine", ["learned", "none"])
def test_alpha_times_threshold_one_is_batchnorm(shape, affine, float64):
    ours, theirs = pair(3, len(shape) == 4, affine)
    for _ in range(3):
        x = 3 * torch.randn(shape) + 2
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        weights = torch.randn(shape)
        torch.testing.assert_close(ours(one), theirs(two), rtol=1e-12, atol=1e-12)
        (ours(one) * weights).sum().backward()
        (theirs(two) * weights).sum().backward()
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


def test_running_statistics_do_not_depend_on_the_place_of_epsilon(float64):
    outside, theirs = pair(3, True, epsilon="outside")
    x = torch.randn(10, 3, 4, 4) + 1
    outside(x), theirs(x)
    torch.testing.assert_close(outside.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(outside.running_var, theirs.running_var, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("epsilon", ["inside", "outside"])
def test_gradients_of_both_forms(epsilon, float64):
    norm = TdBN(2, threshold=0.7, epsilon=epsilon)
    x = torch.randn(6, 2, 2, 2, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: norm(x), (x, norm.weight, norm.bias))


@pytest.mark.parametrize("alpha", [1.0, 2**-0.5])
@pytest.mark.parametrize("epsilon", ["inside", "outside"])
def test_the_output_starts_with_the_thresholds_deviation(alpha, epsilon, float64):
    y = TdBN(4, threshold=0.6, alpha=alpha, epsilon=epsilon, affine="none")(5 * torch.randn(64, 4, 10, 10) - 3)
    assert y.mean((0, 2, 3)).abs().max() < 1e-12
    assert y.std((0, 2, 3), correction=0).tolist() == pytest.approx([0.6 * alpha] * 4, rel=1e-4)


def test_two_branches_of_one_over_root_two_add_up_to_the_threshold():
    n = 200_000
    total = sum(TdBN(1, threshold=0.5, alpha=2**-0.5)(torch.randn(n, 1)) for _ in range(2))
    assert total.std().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2 * n))


def test_share_of_neurons_that_fire_at_the_first_step():
    n, p = 400_000, 0.158655  # P(N(0, 1) > 1)
    assert 0.5 * math.erfc(1 / math.sqrt(2)) == pytest.approx(p, abs=5e-7)
    spikes = LIF(threshold=0.5)(TdBN(1, threshold=0.5)(2 * torch.randn(n, 1) + 7).unsqueeze(0))
    assert spikes.mean().item() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


def used(channels, affine, epsilon):
    """A tdBN in evaluation mode with statistics and weights of a long training."""
    norm = TdBN(channels, threshold=0.6, alpha=0.8, epsilon=epsilon, affine=affine).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 3.0)
    if affine == "learned":
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    return norm


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("affine", ["learned", "none"])
@pytest.mark.parametrize("epsilon", ["inside", "outside"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_fold(kind, bias, epsilon, affine, dtype, tolerance):
    torch.set_default_dtype(dtype)
    norm = used(6, affine, epsilon)
    layer = nn.Conv2d(3, 6, 3, bias=bias) if kind == "conv" else nn.Linear(5, 6, bias=bias)
    x = torch.randn(8, 3, 7, 7) if kind == "conv" else torch.randn(8, 5)
    before = [p.clone() for p in layer.parameters()]
    folded = norm.fold(layer)
    torch.testing.assert_close(folded(x), norm(layer(x)), rtol=0, atol=tolerance)
    assert all(torch.equal(old, new) for old, new in zip(before, layer.parameters(), strict=True)), "the layer itself must not change"
    assert not norm.training


def test_fold_uses_the_running_statistics_while_training():
    norm, layer = used(4, "learned", "outside").train(), nn.Linear(3, 4)
    mean, x = norm.running_mean.clone(), torch.randn(9, 3)
    folded = norm.fold(layer)
    assert torch.equal(norm.running_mean, mean)
    assert norm.training
    torch.testing.assert_close(folded(x), norm.eval()(layer(x)), rtol=0, atol=1e-5)


def test_folding_changes_no_spike_but_on_the_threshold(float64):
    norm, layer, x = used(6, "learned", "inside"), nn.Linear(5, 6), torch.randn(400, 5)
    assert torch.equal(IF()(norm(layer(x)).unsqueeze(0)), IF()(norm.fold(layer)(x).unsqueeze(0)))


@pytest.mark.parametrize("epsilon", ["inside", "outside"])
def test_bfloat16_input(epsilon):
    norm, x = TdBN(3, epsilon=epsilon), torch.randn(32, 3, 4, 4).bfloat16()
    y = norm(x)
    assert y.dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32
    torch.testing.assert_close(y.float(), TdBN(3, epsilon=epsilon)(x.float()), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: TdBN(3)(torch.zeros(4, 2, 5, 5)), ShapeError, r"TdBN input: got \[4, 2, 5, 5\]; must be \[T\*B, 3, ...\]"),
        (lambda: TdBN(3)(torch.zeros(3)), ShapeError, r"TdBN input: got \[3\]"),
        (lambda: TdBN(3, epsilon="under"), ParameterError, "TdBN.epsilon: got 'under'; must be one of 'inside', 'outside'"),
        (lambda: TdBN(3, affine=True), ParameterError, "TdBN.affine: got True; must be one of 'learned', 'none'"),
        (lambda: TdBN(3, threshold=0), ParameterError, r"TdBN.threshold: got 0; must be in \(0, inf\)"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_printed_form():
    assert repr(TdBN(8, threshold=0.6, alpha=0.5, epsilon="outside")) == "TdBN(8, scale=0.3, eps=1e-05 outside the root)"
