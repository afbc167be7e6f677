"""The gradient of an input where it is wanted, against float64; exact sums, threads, memory, what an estimate decides."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from spikeloom.engine import events
from spikeloom.engine.bits import pack
from spikeloom.engine.events import conv
from spikeloom.engine.events import input as restricted

SHARES = [0, 0.01, 0.05, 0.3, 0.8, 1]
ROUNDING = 1e-5  # of the sum of the magnitudes that are added
ORDERS = st.sampled_from([torch.contiguous_format, torch.channels_last])
pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731


def truth(shape, grad, weight, stride, padding):
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(F.conv2d(x, weight.double(), None, stride, padding), x, grad.double())[0]


def case(n, inputs, outputs, size, kernel, stride, padding, share):
    weight = torch.randn(outputs, inputs, *kernel)
    shape = (n, inputs, *size)
    grad = torch.randn_like(F.conv2d(torch.zeros(shape), weight, None, stride, padding))
    return (torch.rand(shape) < share).float(), grad, weight


@given(
    st.integers(1, 33), st.sampled_from([1, 3, 16, 63, 64, 70, 130]), st.sampled_from([1, 5, 16, 33, 64, 130, 200]), pair(1, 9),
    st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (2, 3), (4, 1), (1, 8)]), pair(1, 3), pair(0, 3),
    st.sampled_from(SHARES), ORDERS, ORDERS,
)  # fmt: skip
def test_conv2d(n, inputs, outputs, size, kernel, stride, padding, share, order, other):
    assume(all(d + 2 * p >= k for d, p, k in zip(size, padding, kernel, strict=True)) and n * inputs * outputs < 60000)
    mask, grad, weight = case(n, inputs, outputs, size, kernel, stride, padding, share)
    grad, weight = grad.contiguous(memory_format=order), weight.contiguous(memory_format=other)
    found = events.conv2d_input(pack(mask), grad, weight, stride, padding)
    wanted, size = truth(mask.shape, grad, weight, stride, padding), truth(mask.shape, grad.abs(), weight.abs(), stride, padding)
    assert found.shape == mask.shape and found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    assert ((found - wanted * mask).abs() <= ROUNDING * size * mask).all()


def test_sums_of_whole_numbers_are_exact_whatever_the_pieces(monkeypatch):
    mask, _, _ = case(9, 70, 40, (11, 7), (3, 3), (1, 1), (1, 1), 0.2)
    grad, weight = torch.randint(-8, 9, (9, 40, 11, 7)).float(), torch.randint(-8, 9, (40, 70, 3, 3)).float()
    wanted = truth(mask.shape, grad, weight, (1, 1), (1, 1)) * mask
    for near in (1 << 10, 1 << 13, 1 << 15, 1 << 20):
        for span in (16, 96, 192):
            monkeypatch.setattr(restricted, "NEAR", near)
            monkeypatch.setattr(restricted, "SPAN", span)
            assert torch.equal(events.conv2d_input(pack(mask), grad, weight, (1, 1), (1, 1)).double(), wanted)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_threads_do_not_change_a_bit(stride):
    mask, grad, weight = case(8, 130, 96, (16, 16), (3, 3), stride, (1, 1), 0.2)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(events.conv2d_input(pack(mask), grad, weight, stride, (1, 1)))
    assert torch.equal(*found)


@pytest.mark.parametrize("stride, padding", [((1, 1), (1, 1)), ((3, 2), (0, 1)), ((4, 4), (0, 0))])
def test_all_of_new_memory_is_written(stride, padding, monkeypatch):
    """With steps of 4, pixels that no tap reads, too; where nothing is wanted, gradients may hold anything."""
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: plain(*a, **k).fill_(float("nan")) if "dtype" not in k else plain(*a, **k))
    mask, grad, weight = case(2, 16, 20, (11, 9), (3, 3), stride, padding, 0.5)
    found = events.conv2d_input(pack(mask), grad, weight, stride, padding)
    torch.testing.assert_close(found.double(), truth(mask.shape, grad, weight, stride, padding) * mask, atol=1e-4, rtol=1e-4)
    nothing = events.conv2d_input(pack(0 * mask), grad * float("nan"), weight, stride, padding)
    assert torch.equal(nothing, torch.zeros(2, 16, 11, 9))


def test_without_outputs():
    found = events.conv2d_input(pack(torch.ones(2, 8, 5, 5)), torch.zeros(2, 0, 5, 5), torch.zeros(0, 8, 1, 1), (1, 1), (0, 0))
    assert torch.equal(found, torch.zeros(2, 8, 5, 5))


def test_the_estimate_asks_how_much_is_open():
    """More open windows never make it quicker; none is quicker than dense, all are not, and neither is a layer of few channels."""

    def narrows(share, channels):
        shape, kernel = torch.Size((16, channels, 16, 16)), torch.Size((channels, channels, 3, 3))
        one = conv.case(shape, 1, kernel, (1, 1), (1, 1), (1, 1), 1)
        return one.narrows(share, (1, 1), 16, 64)

    answers = [narrows(k / 20, 128) for k in range(21)]
    assert answers == sorted(answers, reverse=True) and answers[0] and not answers[-1]
    assert not narrows(0.3, 4)
