import pytest


@pytest.fixture
def calls(monkeypatch):
    """How often a restricted gradient is computed."""
    from spikeloom.engine.events import layer

    module, made = __import__("sys").modules[layer.__module__], []
    plain = module.conv2d_input
    monkeypatch.setattr(module, "conv2d_input", lambda *args: made.append(1) or plain(*args))
    return made
