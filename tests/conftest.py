"""For every test: float32, fixed seeds, two threads, and no network beyond this computer."""

import os

# before torch loads OpenMP: threads that wait spin otherwise, and a busy computer triples the time of the tests
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import random

import numpy as np
import pytest
import pytest_socket
import torch
from hypothesis import settings

torch.set_num_threads(2)
# derandomised: the same examples at every run
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25, database=None)
settings.register_profile("few", settings.get_profile("repeatable"), max_examples=8)
settings.load_profile("repeatable")


def pytest_configure(config):
    # no compiler is a lawful state: the reference loop runs, and says so once; which neurons fuse is asked of `explain`
    config.addinivalue_line("filterwarnings", "ignore::spikeloom.engine.dispatch.SlowBackend")


@pytest.fixture(autouse=True)
def repeatable():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def offline():
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture
def float64():
    """Parameters and inputs made in the test are float64."""
    torch.set_default_dtype(torch.float64)
