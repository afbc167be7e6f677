"""The kernel against the reference loop: every neuron, every choice, every surrogate."""

from itertools import cycle, product

import pytest
import torch
from against_reference import assert_close, assert_same, differentiated, fused, reference

from spikeloom import neurons, surrogates

STEPS = 5


def combinations():
    """Every neuron with every combination of its choices, and a surrogate in turn."""
    turn = cycle(surrogates.known)
    for name, cls in neurons.known.items():
        for literals in product(*(choice.allowed for choice in cls.choices.values())):
            yield name, dict(zip(cls.choices, literals, strict=True)), next(turn)


FIRING = [c for c in combinations() if c[1]["fires"] != "smooth"]
IDS = ["-".join([name, *options.values(), surrogate]) for name, options, surrogate in FIRING]


def test_the_combinations_reach_every_surrogate_and_literal():
    for name, cls in neurons.known.items():
        mine = [c for c in FIRING if c[0] == name]
        assert len({c[2] for c in mine}) >= 4
        for key, choice in cls.choices.items():
            assert {c[1][key] for c in mine} == set(choice.allowed) - {"smooth"}


def driven(n, dtype, seed=0):
    """Input that crosses the thresholds often, some of it exactly: multiples of 1/8."""
    x = torch.randn(STEPS * n[0], *n[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1.5 + 0.5
    x[::3] = (x[::3] * 8).round() / 8
    return x.to(dtype)


@pytest.mark.parametrize(("name", "options", "surrogate"), FIRING, ids=IDS)
def test_float32_spikes_and_states_are_bit_equal(name, options, surrogate):
    neuron = neurons.known[name](**options, surrogate=surrogate)
    for shape in ((1, 1), (7, 9), (17, 59)):  # 1, 63 and 1003 neurons
        x = driven(shape, torch.float32)
        with torch.no_grad():
            ours, theirs = fused(neuron, x, STEPS), reference(neuron, x, STEPS)
        assert torch.equal(ours[0], theirs[0]) and (shape == (1, 1) or 0 < theirs[0].mean() < theirs[0].max())
        assert all(torch.equal(a, b) for a, b in zip(ours[1], theirs[1], strict=True))


@pytest.mark.parametrize(("name", "options", "surrogate"), FIRING, ids=IDS)
def test_float64_gradients(name, options, surrogate, quick_compiler):
    neuron = neurons.known[name](**options, surrogate=surrogate, learnable=tuple(neurons.known[name].params)).double()
    compare_gradients(neuron, driven((17, 59), torch.float64), 1e-12)


@pytest.mark.parametrize("surrogate", surrogates.known)
@pytest.mark.parametrize("name", neurons.known)
def test_every_surrogate(name, surrogate, quick_compiler):
    neuron = neurons.known[name](surrogate=surrogate, reset_gradient="through").double()
    compare_gradients(neuron, driven((7, 9), torch.float64, seed=1), 1e-12)


@pytest.mark.parametrize("surrogate", surrogates.known)
def test_float32_gradients(surrogate):
    """The kernel's own exp and tanh differ from torch's by a few units in the last place."""
    neuron, x = neurons.MLF(surrogate=surrogate), driven((17, 59), torch.float32)
    state = tuple(torch.full((17, 59), 0.25) for _ in neuron.states)
    ours, theirs = (differentiated(neuron, x, STEPS, state, scan) for scan in (fused, reference))
    assert_close(ours.x, theirs.x, 2e-6, "x")
    for a, b in zip(ours.first, theirs.first, strict=True):
        assert_close(a, b, 2e-6, "state")


@pytest.mark.parametrize("name", neurons.known)
def test_smooth_firing(name, quick_compiler):
    neuron = neurons.known[name](fires="smooth", surrogate="sigmoid").double()
    x = driven((7, 9), torch.float64)
    state = tuple(torch.zeros(7, 9, dtype=torch.float64) for _ in neuron.states)
    ours, theirs = (differentiated(neuron, x, STEPS, state, scan) for scan in (fused, reference))
    assert_close(ours.spikes, theirs.spikes, 1e-13, "spikes")
    assert_close(ours.x, theirs.x, 1e-12, "x")


def compare_gradients(neuron, x, tolerance):
    rows = x.shape[0] // STEPS
    generator = torch.Generator().manual_seed(2)
    state = tuple(torch.randn(rows, *x.shape[1:], generator=generator).to(x.dtype) / 4 for _ in neuron.states)
    assert_same(neuron, x, STEPS, state, tolerance)
