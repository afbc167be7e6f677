import pytest
import torch
from torch import nn

from spikeloom.engine import cache


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def private_cache(cache_folder, monkeypatch):
    """Kernels of the tests stay out of the user's cache; no compiler, no tests."""
    try:
        cache.compiler()
    except cache.CannotCompile as error:
        pytest.skip(str(error))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(cache_folder))


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """What a kernel should write and does not is NaN, or 101 where it is a whole number."""
    original = torch.empty

    def made(*args, **options):
        new = original(*args, **options)
        return new.fill_(float("nan") if new.is_floating_point() else 101)

    monkeypatch.setattr(torch, "empty", made)


@pytest.fixture
def dyadic():
    """Makes all weights multiples of 1/64 below 1/4, so that float32 sums are exact in any order."""

    def rounded(net, seed=0):
        draw = torch.Generator().manual_seed(seed)
        for module in net.modules():
            if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
                for value in (module.weight, module.bias):
                    if value is not None:
                        value.data = torch.randint(-13, 17, value.shape, generator=draw) / 64
        return net.eval().requires_grad_(False)

    return rounded


@pytest.fixture
def images():
    """Images whose pixels are multiples of 1/16."""
    return lambda *shape: torch.randint(0, 17, shape, generator=torch.Generator().manual_seed(1)) / 16


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch):
    """Half the compile time: what is tested is what is computed rather than how fast."""
    monkeypatch.setattr(cache, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in cache.FLAGS))
