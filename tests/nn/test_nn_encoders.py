"""Encoders: constant current, Bernoulli statistics (METHODS A.4.5), latencies, and what they refuse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.nn import encoders
from spikeloom.nn.encoders import Bernoulli, Direct, Latency, Rate


def test_direct_repeats_the_frame_without_a_copy():
    x = torch.randn(3, 2, 4)
    y = Direct()(x, 5)
    assert y.shape == (5, 3, 2, 4)
    assert all(torch.equal(step, x) for step in y)
    assert y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


@pytest.mark.parametrize("p", [0.02, 0.25, 0.5, 0.9])
def test_bernoulli_mean(p):
    n = 100_000
    spikes = Bernoulli()(torch.full((n // 10,), p), 10)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert abs(spikes.mean().item() - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_bernoulli_draws_are_independent_in_time():
    n, p = 100_000, 0.3
    spikes = Bernoulli()(torch.full((n,), p), 2)
    both = spikes.prod(0).mean().item()
    assert abs(both - p * p) < 4 * math.sqrt(p * p * (1 - p * p) / n)


def test_bernoulli_at_its_ends_and_under_a_seed():
    assert not Bernoulli()(torch.zeros(1000), 10).any()
    assert Bernoulli()(torch.ones(1000), 10).all()
    x = torch.rand(50)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(Bernoulli()(x, 4))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_latency_by_hand():
    # T = 5: brightness 1, .75, .5, .25 spike at steps 0, 1, 2, 3; .01 at the last; 0 never
    spikes = Latency()(torch.tensor([1.0, 0.75, 0.5, 0.25, 0.01, 0.0]), 5)
    assert spikes.T.tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0] * 5]


@given(values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), steps=st.integers(1, 12))
def test_latency_spikes_once_and_the_brighter_the_earlier(values, steps):
    x = torch.tensor(values)
    spikes = Latency()(x, steps)
    assert torch.equal(spikes.sum(0), (x > 0).float())
    when = spikes.argmax(0)
    order = x[x > 0].argsort(descending=True)
    assert (when[x > 0][order].diff() >= 0).all()


def test_rate_by_hand():
    # 3/8 of the steps: floor(3 t / 8) rises at t = 3, 6, 8
    assert Rate()(torch.tensor([0.375, 1.0, 0.0]), 8).T.tolist() == [[0, 0, 1, 0, 0, 1, 0, 1], [1] * 8, [0] * 8]


@pytest.mark.parametrize("base", [10, 100, 255])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rate_counts_the_floor_of_t_times_x_for_every_t(base, dtype):
    """x = k/base: the whole numbers among the products are hit, whatever float32 makes of x."""
    x = torch.arange(base + 1, dtype=dtype) / base
    spikes = Rate()(x, 1000)
    expected = torch.arange(1, 1001).view(-1, 1) * torch.arange(base + 1) // base
    assert torch.equal(spikes.cumsum(0).long(), expected)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}


def test_rate_of_sixteen_bits():
    x = torch.tensor([0.25, 1.0, 0.3], dtype=torch.bfloat16)
    assert Rate()(x, 512).float().sum(0).tolist() == [128, 512, math.floor(512 * x[2].item())]


@pytest.mark.parametrize("encoder", [Direct(), Bernoulli(), Latency(), Rate()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_dtype_and_empty_batch(encoder, dtype):
    y = encoder(torch.rand(3, 2, 4).to(dtype), 6)
    assert y.shape == (6, 3, 2, 4)
    assert y.dtype == dtype
    assert encoder(torch.zeros(0, 2), 3).shape == (3, 0, 2)


@pytest.mark.parametrize("encoder", [Bernoulli(), Latency(), Rate()])
@pytest.mark.parametrize("bad", [-0.5, 1.5, float("nan")])
def test_raw_encoders_refuse_standardised_images(encoder, bad):
    with pytest.raises(ShapeError, match=rf"{type(encoder).__name__} input: got .*; must be in \[0, 1\]; do not standardise the images"):
        encoder(torch.tensor([0.25, bad]), 4)


def test_encoders_by_name():
    assert isinstance(encoders.build("direct"), Direct)
    assert isinstance(encoders.build("Latency"), Latency)
    assert isinstance(encoders.build("first_spike"), encoders.FirstSpike)
    assert encoders.build(None) is None
    assert encoders.build("none") is None
    mine = Bernoulli()
    assert encoders.build(mine) is mine
    assert {name for name, cls in encoders.known.items() if cls.domain == "raw"} == {"Bernoulli", "FirstSpike", "Latency", "Rate"}
    assert Direct.domain == "standardised"
    with pytest.raises(ParameterError, match="encoder: got 'bernouli'; did you mean 'bernoulli'"):
        encoders.build("bernouli")


def test_an_encoder_without_a_code_says_so():
    with pytest.raises(NotImplementedError):
        encoders.Encoder()(torch.zeros(1), 1)
