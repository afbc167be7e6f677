"""The spiking max pool against a loop in plain Python, alone, in a network and step by step."""

import math

import pytest
import torch
from torch import nn

from spikeloom import SNN
from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.nn.pool import SpikingMaxPool2d


def by_hand(x, kernel, stride, padding, dilation):
    """Gate of x `[T, B, C, H, W]`: the spike of the first input with the largest sum so far."""
    height, width = (math.floor((n + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1 for n in x.shape[3:])
    y = torch.zeros(*x.shape[:3], height, width, dtype=x.dtype)
    for b in range(x.shape[1]):
        for c in range(x.shape[2]):
            total = [[0.0] * x.shape[4] for _ in range(x.shape[3])]
            for t in range(x.shape[0]):
                for i in range(x.shape[3]):
                    for j in range(x.shape[4]):
                        total[i][j] += x[t, b, c, i, j].item()
                for p in range(height):
                    for q in range(width):
                        rows = (p * stride - padding + dilation * k for k in range(kernel))
                        places = [(i, q * stride - padding + dilation * k) for i in rows for k in range(kernel)]
                        inside = [(i, j) for i, j in places if 0 <= i < x.shape[3] and 0 <= j < x.shape[4]]
                        i, j = max(inside, key=lambda place: total[place[0]][place[1]])  # the first of equals
                        y[t, b, c, p, q] = x[t, b, c, i, j]
    return y


def spikes(*shape, lowest=0):
    return torch.randint(lowest, 2, shape).float()


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (2, 1, 0, 2)])
@pytest.mark.parametrize("lowest", [0, -1])
def test_against_the_loop(kernel, stride, padding, dilation, lowest):
    pool, x = SpikingMaxPool2d(kernel, stride, padding, dilation), spikes(6, 2, 3, 6, 5, lowest=lowest)
    expected = by_hand(x, kernel, stride, padding, dilation)
    assert torch.equal(pool(x), expected)
    snn = SNN(pool, steps=6, encoder=None)
    assert torch.equal(snn(x), expected)
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), expected)
    last = x.flatten(0, 1).to(memory_format=torch.channels_last)
    assert torch.equal(pool(last).unflatten(0, (6, 2)), expected)


def test_a_window_follows_its_most_active_input():
    """By hand: the second input leads from step 2 on, and at a tie the first one does."""
    x = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1]]).view(5, 1, 1, 2, 2)
    assert SpikingMaxPool2d(2)(x).flatten().tolist() == [1, 0, 1, 1, 0 + 1]


def test_spikes_of_any_size_stream_bit_by_bit():
    snn, x = SNN(SpikingMaxPool2d(2), steps=50, encoder=None), spikes(50, 1, 2, 8, 8) * 0.3
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), snn(x))


def test_counts_of_sixteen_bits_go_beyond_what_sixteen_bits_hold():
    x = torch.zeros(602, 1, 1, 1, 2)
    x[:300, ..., 0] = 1  # bfloat16 could not count beyond 256
    x[300:601, ..., 1] = 1
    x[601, ..., 1] = 1
    y = SpikingMaxPool2d((1, 2))(x.bfloat16())
    assert y.dtype == torch.bfloat16 and y[-2:].flatten().tolist() == [1, 1] and not y[300:599].any()


def test_options_and_gradients_are_those_of_the_gate():
    pool = SpikingMaxPool2d((2, 1), stride=(2, 1), ceil_mode=True)
    x = spikes(3, 2, 1, 5, 2).requires_grad_()
    y = pool(x)
    assert y.shape == (3, 2, 1, 3, 2) and nn.MaxPool2d((2, 1), (2, 1), ceil_mode=True)(x[0]).shape == y.shape[1:]
    y.sum().backward()
    assert x.grad.sum() == y.numel() and set(x.grad.unique().tolist()) == {0.0, 1.0}
    assert "kernel_size=(2, 1)" in repr(pool)


@pytest.mark.parametrize("shape", [(4, 3, 6, 6), (0, 2, 3, 6, 6)])
def test_input_without_time_is_refused(shape):
    with pytest.raises(ShapeError, match=r"SpikingMaxPool2d input: got \[.*\]; must be \[T, B, C, H, W\]; or put it into an SNN"):
        SpikingMaxPool2d(2)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(5, 3, 6, 6), (4, 3, 6)])
def test_input_that_is_not_folded_is_refused(shape):
    pool = SpikingMaxPool2d(2)
    pool.steps = 4
    with pytest.raises(ShapeError, match=r"SpikingMaxPool2d input: got \[.*\]; must be \[T\*B, C, H, W\] with T = 4"):
        pool(torch.zeros(shape))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_increases_add_up_to_the_largest_sum(kernel, stride, padding):
    pool = SpikingMaxPool2d(kernel, stride, padding, passes="increase")
    x = spikes(7, 2, 3, 6, 6)
    y = pool(x)
    for t in range(1, 8):
        largest = nn.functional.max_pool2d(x[:t].sum(0), kernel, stride, padding)
        assert torch.equal(y[:t].sum(0), largest)
    assert set(y.unique().tolist()) <= {0.0, 1.0}
    snn = SNN(pool, steps=7, encoder=None)
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), snn(x))
    assert torch.equal(snn(x), y)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ParameterError, match="SpikingMaxPool2d.passes: got 'all'; must be one of 'leader', 'increase'"):
        SpikingMaxPool2d(2, passes="all")
