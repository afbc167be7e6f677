import pytest

from spikeloom.bench.race import Place
from spikeloom.bench.timing import Plan


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """Kernels of the tests stay out of the user's cache."""
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path_factory.getbasetemp() / "bench-kernels"))


@pytest.fixture
def place():
    """Two short rounds, nothing shown."""
    return Place(plan=Plan(rounds=2, budget=0.01, sample=0.0), show=False)
