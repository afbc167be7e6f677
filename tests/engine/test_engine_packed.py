"""Packed memory: what is kept, that it is enough, and when it is refused."""

import pytest
import torch
from against_reference import assert_close, differentiated, fused, reference

from spikeloom import neurons
from spikeloom.core.errors import ParameterError
from spikeloom.engine import CannotPack

BOXED = {"surrogate": "rectangle", "reset_gradient": "detached", "memory": "packed"}


def kept(neuron, x, steps):
    """Bytes that a fused call leaves for the backward pass, beside the parameters."""
    sizes = {}
    own = {p.data_ptr() for p in (*neuron.parameters(), *neuron.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        fused(neuron, x.detach().requires_grad_(), steps)
    return sum(size for address, size in sizes.items() if address not in own)


@pytest.mark.parametrize(("cls", "bits"), [(neurons.LIF, 2), (neurons.IF, 2), (neurons.PLIF, None), (neurons.MLF, 6)])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_bytes_by_hand(cls, bits, reset):
    """2 bits a threshold: fired or not, window open or not; a reset by subtraction need not know the first."""
    if bits is None:
        with pytest.raises(CannotPack, match="needs the membrane itself"):  # the gradient of its learned leak
            kept(cls(reset=reset, **BOXED), torch.randn(8, 1024), 4)
        return
    bits = bits if reset == "zero" else bits // 2
    x = torch.randn(8, 1024)  # T = 4 steps of 2048 neurons
    assert kept(cls(reset=reset, **BOXED), x, 4) == 4 * 2048 * bits / 8
    assert kept(cls(reset=reset, surrogate="rectangle", reset_gradient="detached"), x, 4) == 4 * 2048 * 4


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (3, 512), (17, 59), (2, 5000)], ids=str)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("cls", [neurons.LIF, neurons.IF, neurons.MLF])
def test_gradients_are_bit_equal_to_the_input_form(cls, reset, shape):
    steps = 5
    x = torch.randn(steps * shape[0], shape[1]) * 1.5 + 0.5
    state = tuple(torch.randn(shape) / 4 for _ in cls(**BOXED).states)
    packed, plain = (differentiated(cls(reset=reset, **{**BOXED, "memory": m}), x, steps, state, fused) for m in ("packed", "input"))
    assert torch.equal(packed.spikes, plain.spikes) and torch.equal(packed.x, plain.x)
    assert all(torch.equal(a, b) for a, b in zip((*packed.first, *packed.last), (*plain.first, *plain.last), strict=True))


def test_a_threshold_can_be_learned_from_bits():
    neuron = neurons.LIF(reset="subtract", learnable=("threshold",), **BOXED).double()
    x = torch.randn(5 * 7, 9, dtype=torch.float64) * 1.5 + 0.5
    state = (torch.zeros(7, 9, dtype=torch.float64),)
    ours, theirs = (differentiated(neuron, x, 5, state, scan) for scan in (fused, reference))
    assert_close(ours.x, theirs.x, 1e-12, "x")
    assert_close(ours.values["threshold"], theirs.values["threshold"], 1e-12, "threshold")


def test_channels_last_and_bf16():
    x = (torch.randn(8, 5, 4, 7) * 1.5 + 0.5).to(torch.bfloat16).to(memory_format=torch.channels_last)
    state = (torch.zeros(2, 5, 4, 7).to(memory_format=torch.channels_last),)
    decay = [0.1, 0.3, 0.5, 0.7, 0.9]
    packed, plain = (differentiated(neurons.LIF(decay=decay, **{**BOXED, "memory": m}), x, 4, state, fused) for m in ("packed", "input"))
    assert torch.equal(packed.x, plain.x) and packed.x.is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_of_the_state_alone():
    neuron, x = neurons.LIF(**BOXED), torch.randn(6, 100)
    state = torch.zeros(2, 100, requires_grad=True)
    _, (v,) = fused(neuron, x, 3, (state,))
    v.sum().backward()
    other = torch.zeros(2, 100, requires_grad=True)
    _, (v,) = reference(neuron, x, 3, (other,))
    v.sum().backward()
    assert torch.equal(state.grad, other.grad)


@pytest.mark.parametrize(
    ("options", "needs"),
    [({"surrogate": "atan"}, "x itself"), ({"reset_gradient": "through"}, "x itself"), ({"learnable": ("decay",)}, "the membrane itself")],
    ids=str,
)
def test_what_needs_more_is_refused(options, needs):
    neuron = neurons.LIF(**{**BOXED, **options})
    with pytest.raises(CannotPack, match=rf"memory: 'packed' keeps only truth values, but this neuron's backward needs {needs}; use"):
        fused(neuron, torch.randn(6, 10, requires_grad=True), 3)
    with torch.no_grad():
        fused(neuron, torch.randn(6, 10), 3)  # nothing is kept, nothing is refused


def test_an_unknown_memory_is_refused():
    with pytest.raises(ParameterError, match=r"LIF\.memory: got 'bits'; must be one of 'input', 'packed'"):
        neurons.LIF(memory="bits")
