import pytest
import torch

from spikeloom.engine import cache, dispatch, moments


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def private_cache(cache_folder, monkeypatch):
    """Kernels of the tests stay out of the user's cache, and a call that cannot be fused fails; no compiler, no tests."""
    try:
        cache.compiler()
    except cache.CannotCompile as error:
        pytest.skip(str(error))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(cache_folder))
    monkeypatch.setenv("SPIKELOOM_BACKEND", "cpp")


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """What a kernel should write and does not is NaN, or 101 where it is a whole number."""

    def spoil(original):
        def made(*args, **options):
            new = original(*args, **options)
            return new.fill_(float("nan") if new.is_floating_point() else 101)

        return made

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, spoil(getattr(torch, name)))


@pytest.fixture
def quick_compiler(monkeypatch):
    """Half the compile time, for tests of what is computed rather than how fast."""
    monkeypatch.setattr(cache, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in cache.FLAGS))


@pytest.fixture
def forgetful(monkeypatch):
    """As if no kernel had been made in this process."""
    monkeypatch.setattr(dispatch, "_kernels", {})
    monkeypatch.setattr(dispatch, "_warned", set())
    for function in (cache.function, moments._function, cache._compiler, cache._temporary):
        function.cache_clear()
    yield
    for function in (cache.function, moments._function, cache._compiler, cache._temporary):
        function.cache_clear()
