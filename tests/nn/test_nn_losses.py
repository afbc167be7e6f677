"""Losses: METHODS F.4 and A.4.1 by the numbers, Jensen's inequality, one step as cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.core.errors import ParameterError
from spikeloom.nn import losses

OUTPUTS = [[[2.0, 0, -1]], [[0.0, 1, 0]], [[3.0, 1, 0]]]  # [T, B, classes]
shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(2, 6))


def sample(shape):
    outputs = 3 * torch.randn(shape, dtype=torch.float64)
    return outputs, torch.randint(0, shape[2], (shape[1],))


# METHODS prints seven decimals, the first of them cut off and not rounded: .63037892
@pytest.mark.parametrize("weight, printed", [(0.0, 0.6303788), (1.0, 1.4444444), (0.05, 0.6710822), (1e-3, 0.6311930)])
def test_tet(weight, printed, float64):
    entropy = sum(math.log(sum(math.exp(o - step[0]) for o in step)) for (step,) in OUTPUTS) / 3
    square = (1 + 1 + 4 + 1 + 0 + 1 + 4 + 0 + 1) / 9
    got = losses.tet(torch.tensor(OUTPUTS), torch.tensor([0]), weight=weight).item()
    assert got == pytest.approx((1 - weight) * entropy + weight * square, abs=1e-14)
    assert got == pytest.approx(printed, abs=1.2e-7)


def test_tets_default_weight_is_the_papers(float64):
    assert losses.tet(torch.tensor(OUTPUTS), torch.tensor([0])).item() == pytest.approx(0.6710822, abs=5.1e-8)


def test_tets_target(float64):
    assert losses.tet(torch.full((2, 1, 3), 4.0), torch.tensor([0]), weight=1.0, target=4.0) == 0


def test_mean_cross_entropy(float64):
    assert losses.mean_cross_entropy(torch.tensor(OUTPUTS), torch.tensor([0])).item() == pytest.approx(0.4076060, abs=5.1e-8)


def test_rate_mse(float64):
    spikes = torch.tensor([0.0, 0, 0, 1, 1, 0, 1, 0]).view(8, 1, 1)
    assert losses.rate_mse(spikes, torch.tensor([0])).item() == 0.390625
    # two samples, two classes: rates (1, 0) and (.5, .5), labels 0 and 1: (0 + 0 + .25 + .25) / 4
    rates = torch.tensor([[[1.0, 0], [1, 0]], [[1, 0], [0, 1]]])
    assert losses.rate_mse(rates, torch.tensor([0, 1])).item() == 0.125


@given(shape=shapes)
def test_rate_mse_is_the_papers_loss_but_for_a_factor(shape):
    outputs, labels = sample(shape)
    _, batch, classes = shape
    paper = sum((F.one_hot(labels[b], classes) - outputs[:, b].mean(0)).square().sum() for b in range(batch)) / (2 * batch)
    torch.testing.assert_close(losses.rate_mse(outputs, labels) * classes / 2, paper, rtol=1e-12, atol=1e-12)


@given(shape=shapes)
def test_tet_is_never_below_the_cross_entropy_of_the_mean(shape):
    outputs, labels = sample(shape)
    assert losses.tet(outputs, labels, weight=0.0) >= losses.mean_cross_entropy(outputs, labels) - 1e-12


@given(shape=shapes)
def test_tet_is_the_mean_over_steps(shape):
    outputs, labels = sample(shape)
    each = torch.stack([F.cross_entropy(step, labels) for step in outputs]).mean()
    torch.testing.assert_close(losses.tet(outputs, labels, weight=0.0), each, rtol=1e-12, atol=1e-12)


@given(shape=shapes)
def test_one_step_is_cross_entropy(shape):
    outputs, labels = sample((1, *shape[1:]))
    expected = F.cross_entropy(outputs[0], labels)
    torch.testing.assert_close(losses.tet(outputs, labels, weight=0.0), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(losses.mean_cross_entropy(outputs, labels), expected, rtol=1e-12, atol=1e-12)


def test_losses_by_name():
    assert losses.build("tet") is losses.tet
    assert {"tet", "mean_cross_entropy", "rate_mse"} <= set(losses.known)
    with pytest.raises(ParameterError, match="loss: got 'tett'; did you mean 'tet'"):
        losses.build("tett")
