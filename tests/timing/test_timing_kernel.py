"""The compiled kernel against the torch reference: random cases, panels, convolutions, threads, poisoned memory."""

import math

import pytest
import torch

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import cache
from spikeloom.timing import kernel, reference, relpsp_times, wiring

# of the kernel alone; a machine without a compiler runs the reference
try:
    cache.compiler()
except cache.CannotCompile:
    pytest.skip("no C++ compiler", allow_module_level=True)

WIRES = {
    "full": (wiring.full(40), 30), "many": (wiring.full(300), 20), "narrow": (wiring.full(3), 1), "panels": (wiring.full(20), 300),
    "conv": (wiring.conv2d(2, (7, 6), (3, 3), (1, 1), (0, 0)), 5), "padded": (wiring.conv2d(3, (5, 5), (3, 2), (2, 1), (1, 1)), 17),
}  # fmt: skip


def case(name, dtype, kind="random"):
    wires, outs = WIRES[name]
    g = torch.Generator().manual_seed(1)
    t = torch.rand(9, wires.inputs, generator=g, dtype=torch.float64)
    if kind == "ties":
        t = (t * 4).round() / 4
    t = t - 0.25  # negative times too
    t[torch.rand(t.shape, generator=g) < 0.3] = math.inf
    if kind == "silent":
        t[:] = math.inf
    w = torch.randn(outs, wires.taps, generator=g, dtype=torch.float64) * 0.3 + 0.1
    return t.to(dtype), w.to(dtype), wires


@pytest.mark.parametrize("kind", ["random", "ties", "silent"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-3)])
@pytest.mark.parametrize("name", WIRES)
def test_kernel_and_reference_agree(name, dtype, tolerance, kind):
    t, w, wires = case(name, dtype, kind)
    out, slope = kernel.forward(t, w, wires, 1.0, math.inf)
    expected, expected_slope = reference.forward(t, w, wires, 1.0, math.inf)
    assert torch.equal(out.isinf(), expected.isinf())
    steep = expected_slope > 0.05  # elsewhere rounding moves the crossing far
    assert torch.allclose(out[steep], expected[steep], rtol=tolerance, atol=tolerance)
    assert torch.allclose(slope, expected_slope, rtol=tolerance, atol=tolerance)
    grad = torch.randn_like(expected).where(steep, 0.0)
    given = (t, w, wires, 0.01, grad, expected, expected_slope, True)
    for found, wanted in zip(kernel.backward(*given), reference.backward(*given), strict=True):
        assert torch.allclose(found, wanted, rtol=tolerance, atol=tolerance)
    assert kernel.backward(*given[:-1], False)[0] is None
    assert reference.backward(*given[:-1], False)[0] is None


@pytest.mark.parametrize("name", WIRES)
def test_threads_change_no_bit(name):
    t, w, wires = case(name, torch.float32)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        out, slope = kernel.forward(t, w, wires, 1.0, math.inf)
        found.append((out, slope, *kernel.backward(t, w, wires, 0.01, torch.ones_like(out), out, slope, True)))
    torch.set_num_threads(2)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", WIRES)
def test_every_output_is_written(name, monkeypatch):
    t, w, wires = case(name, torch.float32)
    clean = kernel.forward(t, w, wires, 1.0, math.inf)
    clean += kernel.backward(t, w, wires, 0.01, torch.ones_like(clean[0]), *clean, True)
    poisoned = lambda like, *size: torch.full(size or like.shape, math.nan, dtype=like.dtype)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    monkeypatch.setattr(torch, "empty_like", poisoned)
    out, slope = kernel.forward(t, w, wires, 1.0, math.inf)
    assert all(torch.equal(a, b) for a, b in zip((out, slope), clean, strict=False))
    again = kernel.backward(t, w, wires, 0.01, torch.ones(out.shape), out, slope, True)
    assert all(torch.equal(a, b) for a, b in zip(again, clean[2:], strict=True))


def test_the_reference_runs_in_chunks(monkeypatch):
    t, w, wires = case("full", torch.float64)
    whole = reference.forward(t, w, wires, 1.0, math.inf)
    grads = reference.backward(t, w, wires, 0.01, torch.ones_like(whole[0]), *whole, True)
    monkeypatch.setattr(reference, "ENTRIES", 2 * w.numel())
    parts = reference.forward(t, w, wires, 1.0, math.inf)
    assert all(torch.equal(a, b) for a, b in zip(parts, whole, strict=True))
    again = reference.backward(t, w, wires, 0.01, torch.ones_like(whole[0]), *whole, True)
    assert all(torch.allclose(a, b) for a, b in zip(again, grads, strict=True))


@pytest.fixture
def no_compiler(monkeypatch):
    known = kernel._function, cache.function
    monkeypatch.setenv("CXX", "no-such-compiler")
    for cached in known:
        cached.cache_clear()
    yield
    for cached in known:
        cached.cache_clear()


def test_no_compiler_is_a_lawful_state_unless_the_kernel_is_asked_for(no_compiler, monkeypatch):
    t, w = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.0]])
    assert not kernel.usable(t)
    assert relpsp_times(t, w).item() == pytest.approx(4 / 3)
    monkeypatch.setenv("SPIKELOOM_BACKEND", "cpp")
    with pytest.raises(SpikeloomError, match="no C\\+\\+ compiler"):
        relpsp_times(t, w)


def test_no_memory_is_said(monkeypatch):
    t, w, wires = case("narrow", torch.float32)
    monkeypatch.setattr(kernel, "_function", lambda name, storage: lambda arguments: 1)
    with pytest.raises(MemoryError, match=r"no memory for the spikes of \[9, 3\] inputs"):
        kernel.forward(t, w, wires, 1.0, math.inf)
