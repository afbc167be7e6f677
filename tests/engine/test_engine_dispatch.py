"""Which backend a call takes."""

import pytest
import torch
from against_reference import fused, reference
from torch.autograd import forward_ad

from spikeloom import engine, neurons, surrogates
from spikeloom.core.errors import SpikeloomError


@pytest.fixture
def auto(monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")


@pytest.fixture
def calls(auto, monkeypatch):
    """Counts the calls of the reference loop."""
    seen = []
    scan = engine.reference.scan
    monkeypatch.setattr(engine.reference, "scan", lambda *a: seen.append(a[0]) or scan(*a))
    return seen


def test_a_plain_call_is_fused(calls):
    neurons.LIF()(torch.randn(4, 3, 2))
    assert not calls
    backend, reason = engine.explain(neurons.LIF())
    assert backend == "cpp" and "fused by" in reason


def test_the_reference_can_be_asked_for(calls, monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    neurons.LIF()(torch.randn(4, 3, 2))
    assert calls and engine.explain(neurons.LIF()) == ("reference", "SPIKELOOM_BACKEND=reference")


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "fortran")
    with pytest.raises(SpikeloomError, match="SPIKELOOM_BACKEND: got 'fortran'; must be one of auto, reference, cpp, triton"):
        neurons.LIF()(torch.randn(4, 3, 2))


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.zeros(4, 3, 2, device="meta"), "on meta"),
        (torch.zeros(4, 3, 2, dtype=torch.int32), "torch.int32; kernels read torch.float64"),
        (torch.zeros(4, 0, 2), "x is empty"),
        (torch.zeros(4, 3, 2, dtype=torch.float64), "a value is torch.float32"),
        (torch.zeros(4, 3, 2).as_subclass(type("Own", (torch.Tensor,), {})), "traced or transformed"),
    ],
    ids=["device", "dtype", "empty", "precision", "subclass"],
)
def test_what_kernels_do_not_read(x, reason):
    with pytest.raises(engine.CannotFuse, match=reason):
        engine.run(neurons.LIF(), x.flatten(0, 1), 4, None, neurons.LIF()._shaped(x.flatten(0, 1)))


@pytest.mark.parametrize("x", [torch.zeros(4, 0, 2), torch.zeros(4, 3, 2, dtype=torch.float64)], ids=["empty", "precision"])
def test_then_the_reference_runs(calls, x):
    neuron = neurons.LIF()
    y = neuron(x)
    assert y.shape == x.shape and y.dtype == x.dtype and calls == [neuron]


def test_states_and_values_kernels_do_not_read():
    x = torch.randn(4, 3)
    with pytest.raises(engine.CannotFuse, match=r"the state is not torch\.float32 on cpu"):
        fused(neurons.LIF(), x, 2, (torch.zeros(2, 3, dtype=torch.float64),))
    values = neurons.LIF()._shaped(x)
    values.decay = torch.full((2, 3), 0.5)
    with pytest.raises(engine.CannotFuse, match=r"a value has shape \[2, 3\]; kernels take one number, or one per channel"):
        engine.run(neurons.LIF(), x, 2, None, values)


def test_changes_after_construction_are_seen(quick_compiler):
    neuron, x = neurons.LIF(surrogate="atan"), torch.randn(5, 100).requires_grad_()
    for change in (lambda: None, lambda: setattr(neuron, "reset", "subtract"), lambda: setattr(neuron, "fires", "at_or_above"),
                   lambda: setattr(neuron, "surrogate", surrogates.Triangle()), lambda: setattr(neuron.surrogate, "a", 0.5),
                   lambda: neuron.threshold.fill_(0.75), lambda: setattr(neuron, "options", [1])):  # fmt: skip
        change()
        ours, theirs = fused(neuron, x, 5)[0], reference(neuron, x, 5)[0]
        assert torch.equal(ours, theirs)
        assert torch.equal(torch.autograd.grad(ours.sum(), x)[0], torch.autograd.grad(theirs.sum(), x)[0])


def test_under_transforms_the_reference_runs(calls):
    neuron, x = neurons.LIF(surrogate="atan"), torch.randn(4, 3, 2)
    plain = neuron(x)
    assert not calls
    torch.func.grad(lambda x: neuron(x).sum())(x)
    assert len(calls) == 1
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert neuron(mode.from_tensor(x)).shape == plain.shape
    assert len(calls) == 2
    with forward_ad.dual_level():
        assert torch.equal(neuron(x), plain)
    assert len(calls) == 3


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function:DeprecationWarning")  # dynamo's own
def test_under_dynamo_the_reference_is_traced(auto):
    neuron, x = neurons.LIF(), torch.randn(4, 3, 2)
    neuron.steps = 4
    x = x.flatten(0, 1)
    assert torch.equal(torch.compile(neuron, backend="eager")(x), neuron(x))


def test_half_of_a_network_in_two_threads(auto):
    """Kernels release the interpreter and share no scratch memory."""
    from concurrent.futures import ThreadPoolExecutor

    neuron = neurons.MLF()
    inputs = [torch.randn(4, 2, 3000) for _ in range(8)]

    def gradient(x):
        x = x.clone().requires_grad_()
        neuron(x).sum().backward()
        return x.grad

    alone = [gradient(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(a, b) for a, b in zip(pool.map(gradient, inputs), alone, strict=True))


def test_a_discarded_state_is_not_written(auto):
    neuron, x = neurons.LIF(), torch.randn(6, 5)
    assert engine.run(neuron, x, 3, None, neuron._shaped(x), keep=False)[1] == ()


def test_tuning_the_allocator(monkeypatch):
    import sys

    assert engine.tune_allocator() in ("tuned", "unsupported")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert engine.tune_allocator() == "unsupported"
