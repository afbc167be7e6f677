import pytest


@pytest.fixture(params=["kernel", "reference"])
def implementation(request, monkeypatch):
    """Each way to compute the firing times."""
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto" if request.param == "kernel" else "reference")
    return request.param
