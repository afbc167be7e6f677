"""The same training step by the kernel and by the reference loop."""

import warnings
from types import SimpleNamespace

import torch

from spikeloom import engine


def reference(neuron, x, steps, state=None):
    """Spikes and final state by the reference loop."""
    return engine.reference.scan(neuron, x, steps, state if state is not None else neuron._start(x, steps), neuron._shaped(x))


def differentiated(neuron, x, steps, state, scan):
    """Everything a training step sees: spikes, final states, and the gradients of x, the parameters and the initial state."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    state = tuple(s.detach().clone().requires_grad_() for s in state)
    neuron.zero_grad()
    spikes, last = scan(neuron, x, steps, state)
    weights = [torch.sin(torch.arange(o.numel(), dtype=torch.float64) + k).to(o).view(o.shape) for k, o in enumerate((spikes, *last))]
    sum((o * w).sum() for o, w in zip((spikes, *last), weights, strict=True)).backward()
    return SimpleNamespace(
        spikes=spikes.detach(), last=[s.detach() for s in last], x=x.grad, first=[s.grad for s in state],
        values={name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in neuron.named_parameters()},
    )  # fmt: skip


def fused(neuron, x, steps, state=None):
    """Spikes and final state by `engine.run`, for which no state is zero."""
    state = state if state is not None or neuron.starts_at_zero else neuron._start(x, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return engine.run(neuron, x, steps, state, neuron._shaped(x))


def assert_same(neuron, x, steps, state, tolerance):
    """Spikes and states bit by bit, gradients within `tolerance`, results laid out like x."""
    ours, theirs = (differentiated(neuron, x, steps, state, scan) for scan in (fused, reference))
    assert torch.equal(ours.spikes, theirs.spikes) and ours.spikes.stride() == x.stride() == ours.x.stride()
    assert all(torch.equal(a, b) for a, b in zip(ours.last, theirs.last, strict=True))
    assert_close(ours.x, theirs.x, tolerance, "x")
    for k, (a, b) in enumerate(zip(ours.first, theirs.first, strict=True)):
        assert_close(a, b, tolerance, f"state {k}")
    for name, grad in theirs.values.items():
        assert_close(ours.values[name], grad, tolerance, name)


def assert_close(ours, theirs, tolerance, what):
    """Largest difference against the largest entry."""
    assert ours.shape == theirs.shape and not ours.isnan().any(), what
    scale = max(1.0, theirs.abs().max().item())
    assert (ours - theirs).abs().max().item() <= tolerance * scale, what
