"""Contracts on how a neuron behaves as a torch module: time, batch, shape, layout, state, dtype and backend. All bit by bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from spikeloom import engine
from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN
from spikeloom.testing.drive import drive, near, noise, precision, same, spread


def fresh_calls(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Every call starts from the initial state: two calls are equal, whatever ran between them."""
    neuron = neuron_class(**options)
    x = drive(neuron, 6, 50, 4)
    first = neuron(x)
    neuron(drive(neuron, 3, 50, 4, seed=5))
    same(neuron(x), first, "second call")


def chunks(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """A run of T steps equals a run of its first part followed, from the state it left, by a run of the rest."""
    neuron = neuron_class(**options)
    for steps, cut in ((8, 4), (7, 3), (5, 1)):
        x = drive(neuron, steps, 50, 4)
        whole, end = neuron.run(x)
        one, state = neuron.run(x[:cut])
        two, last = neuron.run(x[cut:], state)
        assert len(end) == len(neuron.states), f"{len(end)} states came back, `states` names {len(neuron.states)}"
        same(torch.cat([one, two]), whole, f"spikes of {cut} + {steps - cut} steps against {steps}")
        for name, got, expected in zip(neuron.states, last, end, strict=True):
            same(got, expected, f"final {name} of {cut} + {steps - cut} steps against {steps}")


def one_step(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """T = 1 works and equals the first step of a longer run."""
    neuron = neuron_class(**options)
    x = drive(neuron, 5, 3, 4)
    same(neuron(x[:1]), neuron(x)[:1], "spikes of a run of one step")


def batch_order(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Samples do not see each other: a permuted batch gives permuted spikes, and one sample alone the same as in the batch."""
    neuron = neuron_class(**options)
    x = drive(neuron, 6, 37, 3)
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    spikes = neuron(x)
    same(neuron(x[:, order]), spikes[:, order], "spikes of the permuted batch")
    same(neuron(x[:, 5:6]), spikes[:, 5:6], "spikes of one sample alone")


def shapes(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Alone, `[T, B, ...]` comes back in its own shape and dtype for 0 to 4 feature axes; an empty batch is fine."""
    neuron = neuron_class(**options)
    for features in ((), (5,), (3, 4), (2, 3, 4), (2, 3, 2, 2)):
        x = drive(neuron, 4, 3, *features)
        spikes, state = neuron.run(x)
        for name, value, like in [("spikes", spikes, x), *((name, v, x[0]) for name, v in zip(neuron.states, state, strict=True))]:
            assert value.shape == like.shape, f"{name} of input {list(x.shape)} have shape {list(value.shape)}"
            assert value.dtype == like.dtype, f"{name} of {like.dtype} input are {value.dtype}"
    assert neuron(torch.zeros(3, 0, 2)).shape == (3, 0, 2), "an empty batch does not come back empty"


def layouts(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Strides do not matter: channels-last, transposed, expanded and sliced input give what their contiguous copies give."""
    neuron = neuron_class(**options)
    x = drive(neuron, 4, 3, 2, 5, 5)
    folded = x.flatten(0, 1)
    neuron.steps = 4
    same(neuron(folded.to(memory_format=torch.channels_last)), neuron(folded), "spikes of channels-last input")
    neuron.steps = None
    for name, view in {"transposed": x.transpose(2, 4), "sliced": x[:, ::2, :, 1:4], "expanded": x[:1].expand(4, 3, 2, 5, 5)}.items():
        same(neuron(view), neuron(view.contiguous()), f"spikes of {name} input")


def purity(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """A call changes neither its input, nor the state it was given, nor the neuron; recording gradients changes no spike."""
    neuron = neuron_class(**options)
    x = drive(neuron, 5, 3, 4)
    state = tuple(0.1 * noise(3, 4, seed=7 + i).abs() for i in range(len(neuron.states)))
    before = [v.clone() for v in (x, *state, *neuron.state_dict().values())]
    spikes = neuron.run(x, state)[0]
    for old, new in zip(before, (x, *state, *neuron.state_dict().values()), strict=True):
        same(new, old, "an input, state or parameter after the call")
    same(neuron.run(x.clone().requires_grad_(), state)[0].detach(), spikes.detach(), "spikes while gradients are recorded")
    with torch.no_grad():
        same(neuron.run(x, state)[0], spikes.detach(), "spikes under no_grad")


def inside_a_network(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Inside an SNN, where time is folded into the batch, a neuron emits what it emits alone; so does a copy with its state_dict."""
    neuron = neuron_class(**options)
    x = drive(neuron, 6, 20, 4)
    alone = neuron(x)
    snn = SNN(neuron_class(**options), steps=6, encoder=None)
    same(snn(x), alone, "spikes inside an SNN")
    same(copy.deepcopy(snn)(x), alone, "spikes of a deep copy")
    snn.net.load_state_dict(neuron.state_dict())
    same(snn(x), alone, "spikes after loading the neuron's state_dict")


def stream(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Step by step through a stream equals the whole sequence; a second stream starts afresh."""
    snn = SNN(neuron_class(**options), steps=6, encoder=None)
    x = drive(neuron_class(**options), 6, 20, 4)
    whole = snn(x)
    for turn in ("first", "second"):
        steps = snn.stream()
        same(torch.stack([steps(x_t) for x_t in x]), whole, f"spikes of the {turn} stream")


def per_channel(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """One value per channel acts on axis 1: equal values give the scalar's spikes, different ones those of each channel alone."""
    neuron = neuron_class(**options)
    x = drive(neuron, 6, 20, 4, 2)
    if all(v.dim() for v in neuron.state_dict().values()):
        return
    equal = spread(copy.deepcopy(neuron), torch.ones(4))
    same(equal(x), neuron(x), "spikes with the same parameters in every channel")
    factors = torch.tensor([1.0, 0.875, 0.75, 0.625])
    spikes = spread(copy.deepcopy(neuron), factors)(x)
    for channel, factor in enumerate(factors):
        single = spread(copy.deepcopy(neuron), factor.view(1))(x[:, :, channel : channel + 1])
        same(spikes[:, :, channel : channel + 1], single, f"spikes of channel {channel}, parameters times {factor:g}, against it alone")


def not_a_number(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """NaN in one place does not crash and reaches no other neuron."""
    neuron = neuron_class(**options)
    x = drive(neuron, 5, 3, 4)
    clean = neuron(x)
    x[1, 1, 2] = float("nan")
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2] = False
    same(neuron(x)[:, mask], clean[:, mask], "spikes of the other neurons")


def half_precision(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """bfloat16 input gives bfloat16 spikes, equal to those of the same numbers in float32: the state is kept in float32."""
    neuron = neuron_class(**options)
    x = drive(neuron, 8, 200, 4).bfloat16()
    same(neuron(x), neuron(x.float()).bfloat16(), "spikes of bfloat16 input")


def backends(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """The backend that runs agrees with the reference loop: spikes and state bit by bit, float64 gradients to 1e-12."""
    for dtype in (torch.float32, torch.float64):
        with precision(dtype):
            neuron = neuron_class(**options)
            for size in (1, 63, 1003):
                x = drive(neuron, 5, 1, size).requires_grad_()
                spikes, state = neuron.run(x)
                folded = x.flatten(0, 1)
                expected, end = engine.reference.scan(neuron, folded, 5, neuron.initial(folded[:1]), neuron._shaped(folded))
                same(spikes.flatten(0, 1).detach(), expected.detach(), f"spikes of {size} neurons in {dtype}")
                for name, got, value in zip(neuron.states, state, end, strict=True):
                    same(got.detach(), value.detach(), f"final {name} of {size} neurons in {dtype}")
                if dtype == torch.float64:
                    weights = noise(5, size, seed=3)
                    got, value = (
                        torch.autograd.grad((s.view(5, size) * weights).sum() + sum(v.sum() for v in after), x)[0]
                        for s, after in ((spikes, state), (expected, end))
                    )
                    near(got, value, f"input gradients of {size} neurons", relative=1e-12, absolute=1e-12)
