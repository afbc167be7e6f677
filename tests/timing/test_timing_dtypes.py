"""Double precision is that of the arguments, whatever torch's default dtype is."""

import pytest
import torch

from spikeloom.timing import (
    population_times,
    relpsp_conv2d_times,
    relpsp_times,
    srm_conv2d_times,
    srm_times,
    temporal_sigmoid,
    windowed_times,
)
from spikeloom.timing.srm import srm_potential


def drawn(*shape, low=0.0, high=1.0, seed=0):
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DELAYS = torch.arange(1, 5).double()
CALLS = {
    "relpsp_times": lambda: relpsp_times(drawn(4, 6), drawn(5, 6, low=-0.2, seed=1), 0.7),
    "relpsp_conv2d_times": lambda: relpsp_conv2d_times(drawn(2, 1, 6, 6), drawn(3, 1, 3, 3, seed=1), 0.7),
    "windowed_times": lambda: windowed_times(drawn(4, 6), drawn(5, 6, seed=1), 1.0, 2.0),
    "srm_times": lambda: srm_times(drawn(4, 6, high=9), drawn(5, 6, 4, low=-0.1, high=0.3, seed=1), DELAYS, 7.0, 0.9),
    "srm_conv2d_times": lambda: srm_conv2d_times(drawn(2, 1, 6, 6, high=9), drawn(3, 1, 3, 3, 4, high=0.3, seed=1), DELAYS, padding=1),
    "srm_potential": lambda: srm_potential(drawn(5, high=20), drawn(4, 6, high=9), drawn(5, 6, 4, seed=1), DELAYS, 7.0),
    "population_times": lambda: population_times(drawn(7, 1), 0.0, 1.0, 8),
    "temporal_sigmoid": lambda: temporal_sigmoid(drawn(4, 2), drawn(3, 2, seed=1), drawn(3, seed=2), 1.0)[0],
}


@pytest.mark.parametrize("name", CALLS)
def test_the_default_dtype_does_not_enter(name):
    torch.set_default_dtype(torch.float32)
    narrow = CALLS[name]()
    try:
        torch.set_default_dtype(torch.float64)
        wide = CALLS[name]()
    finally:
        torch.set_default_dtype(torch.float32)
    assert narrow.dtype == torch.float64
    assert torch.equal(narrow, wide)
    assert narrow.isfinite().any()
