"""Statistics of a norm in front of a kernel, against torch and against sums written out."""

from fractions import Fraction

import pytest
import torch

from spikeloom.engine import moments

SHAPES = [(7, 1), (300, 3), (40, 33), (5, 16, 7), (3, 5, 40, 40), (70, 16, 9, 9), (2, 48, 3, 3), (3, 4, 2, 3, 5), (1, 2, 1, 1)]


def laid(x, order):
    if order == "last":
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return x.to(memory_format=formats[x.dim()]) if x.dim() in formats else x
    return x


def inner(x, order):
    return 1 if x.dim() == 2 or (order == "last" and x.dim() > 3) else x[0, 0].numel()


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mean_and_variance_are_torchs(shape, order):
    x = laid(torch.randn(shape, dtype=torch.float64) * 3 + torch.arange(shape[1]).view(-1, *[1] * (len(shape) - 2)), order)
    mean, variance = moments.moments(x, inner(x, order))
    over = [d for d in range(x.dim()) if d != 1]
    torch.testing.assert_close(mean, x.mean(over), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(variance, x.var(over, correction=0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", ["first", "last"])
def test_small_spread_far_from_zero(order, dtype):
    """Values 1000 + {0, 1, 2, 3} by turns (exact in float32, and 96 + ... in 16 bits): mean +1.5 and variance 1.25 exactly."""
    base = 1000 if dtype == torch.float32 else 96
    x = laid((torch.arange(64 * 16 * 8 * 8).view(64, 8, 8, 16).permute(0, 3, 1, 2) // 16 % 4 + base).to(dtype).contiguous(), order)
    mean, variance = moments.moments(x, inner(x, order))
    assert mean.dtype == torch.float32
    assert torch.equal(mean, torch.full((16,), base + 1.5)) and torch.equal(variance, torch.full((16,), 1.25))


def test_variance_in_rational_numbers():
    x = torch.tensor([[0.1], [0.7], [-2.5], [1e-3], [40.0]], dtype=torch.float64)
    exact = [Fraction(v) for v in x[:, 0].tolist()]
    mean = sum(exact) / 5
    ours = moments.moments(x, 1)
    assert ours[0].item() == pytest.approx(float(mean), rel=1e-15)
    assert ours[1].item() == pytest.approx(float(sum((v - mean) ** 2 for v in exact) / 5), rel=1e-15)


def test_nan_reaches_its_channel_only():
    x = torch.randn(100, 3)
    x[57, 1] = float("nan")
    for part in moments.moments(x, 1):
        assert part.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adjust(shape, order):
    x, g = (laid(torch.randn(shape, dtype=torch.float64), order) for _ in range(2))
    a, b = torch.randn(2, shape[1], dtype=torch.float64)
    column = (-1, *[1] * (x.dim() - 2))
    expected = g + (a.view(column) + b.view(column) * x)
    moments.adjust(g, x, inner(x, order), a, b)
    torch.testing.assert_close(g, expected, rtol=1e-14, atol=1e-14)


def test_off_the_cpu_torch_does_it():
    x = torch.empty(4, 3, 2, 2, device="meta")
    mean, variance = moments.moments(x, 4)
    assert mean.shape == variance.shape == (3,) and mean.device.type == "meta"


def test_threads_do_not_change_a_bit():
    x = torch.randn(64, 16, 12, 12)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = moments.moments(x, 144)
        torch.set_num_threads(2)
        two = moments.moments(x, 144)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
