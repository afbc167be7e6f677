"""Contracts on gradients, in float64 with the surrogate's primitive in the forward pass, against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from spikeloom import engine
from spikeloom.neurons import Neuron
from spikeloom.surrogates import Sigmoid
from spikeloom.testing.drive import choices, drive, near, noise, precision, spread


def smooth_gradients(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """torch's gradcheck of spikes and final state with respect to the input, the first state and every parameter, for both resets."""
    for neuron, x in _smooth(neuron_class, options, "through"):
        x.requires_grad_()
        state = tuple((0.1 * noise(*x.shape[1:], seed=7 + i).abs()).requires_grad_() for i in range(len(neuron.states)))

        def run(*_: Tensor, neuron: Neuron = neuron, x: Tensor = x, state: tuple[Tensor, ...] = state) -> tuple[Tensor, ...]:
            spikes, after = neuron.run(x, state)
            return spikes, *after

        try:
            gradcheck(run, (x, *state, *neuron.parameters()), eps=1e-6, atol=1e-6, rtol=1e-5)
        except GradcheckError as error:
            named = ["x", *neuron.states, *(name for name, _ in neuron.named_parameters())]
            raise AssertionError(f"gradcheck with reset={neuron.reset!r}, inputs {named}: {error}") from error


def detached_gradients(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """reset_gradient="detached" is the gradient of the run in which every reset takes the spike as a constant."""
    for neuron, x in _smooth(neuron_class, options, "detached"):
        weights = noise(*x.shape, seed=3)
        tensors = {"x": x.requires_grad_(), **dict(neuron.named_parameters())}
        pulled = torch.autograd.grad((neuron.run(x)[0] * weights).sum(), list(tensors.values()), materialize_grads=True)
        expected = _differences(_frozen(neuron, x, weights), list(tensors.values()))
        for name, got, value in zip(tensors, pulled, expected, strict=True):
            near(got, value, f"gradient of {name}, reset={neuron.reset!r} detached", relative=1e-6, absolute=1e-7)


def per_channel_gradients(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Parameters with one value per channel get finite gradients, equal to finite differences, for the class's own reset."""
    for neuron, x in itertools.islice(_smooth(neuron_class, options, "through"), 1):
        spread(neuron, torch.tensor([1.0, 0.875, 0.75]))
        if not list(neuron.parameters()):
            return
        weights = noise(*x.shape, seed=3)
        names, values = zip(*neuron.named_parameters(), strict=True)
        pulled = torch.autograd.grad((neuron.run(x)[0] * weights).sum(), values, materialize_grads=True)
        expected = _differences(lambda n=neuron, x=x, w=weights: (n.run(x)[0] * w).sum(), values)
        for name, got, value in zip(names, pulled, expected, strict=True):
            near(got, value, f"gradient of {name} per channel, reset={neuron.reset!r}", relative=1e-6, absolute=1e-7)


def _smooth(neuron_class: type[Neuron], options: Mapping[str, Any], reset_gradient: str) -> Iterator[tuple[Neuron, Tensor]]:
    """A smooth neuron for either reset, all parameters learnable, with an input `[T=4, B=2, C=3]` that drives it.

    It fires by a sigmoid as wide as the input, so that gradient flows through every step.
    """
    if not choices(neuron_class, "fires", "smooth") or not choices(neuron_class, "reset_gradient", reset_gradient):
        return
    for reset in choices(neuron_class, "reset", "zero", "subtract"):
        with precision(torch.float64):
            x = drive(neuron_class(**{**options, "reset": reset}), 4, 2, 3)
            smooth = {"reset": reset, "reset_gradient": reset_gradient, "fires": "smooth", "surrogate": Sigmoid(a=x.std().item())}
            yield neuron_class(**{**options, **smooth, "learnable": tuple(neuron_class.params)}), x


def _frozen(neuron: Neuron, x: Tensor, weights: Tensor) -> Callable[[], Tensor]:
    """The weighted sum of the spikes as a function in which the spikes that resets see stay what they are now."""
    live, seen = neuron.reset_membrane, []

    def scan() -> Tensor:
        folded = x.flatten(0, 1)
        return engine.reference.scan(neuron, folded, x.shape[0], neuron.initial(x[0]), neuron._shaped(folded))[0].view_as(x)

    def record(membrane: Tensor, spike: Tensor, threshold: Tensor) -> Tensor:
        seen.append(spike.detach())
        return live(membrane, spike, threshold)

    def loss() -> Tensor:
        constants = iter(seen)
        neuron.reset_membrane = lambda membrane, spike, threshold: live(membrane, next(constants), threshold)  # type: ignore[method-assign]
        return (scan() * weights).sum()

    neuron.reset_membrane = record  # type: ignore[method-assign]
    scan()
    return loss


def _differences(function: Callable[[], Tensor], tensors: Sequence[Tensor], h: float = 1e-6) -> list[Tensor]:
    """Central differences of a scalar function with respect to every element of `tensors`, which it reads by reference."""
    found = []
    with torch.no_grad():
        for tensor in tensors:
            slopes = torch.zeros(tensor.numel(), dtype=tensor.dtype)
            flat = tensor.data.view(-1)
            for i in range(flat.numel()):
                value = flat[i].item()
                flat[i] = value + h
                right = function()
                flat[i] = value - h
                slopes[i] = (right - function()) / (2 * h)
                flat[i] = value
            found.append(slopes.view_as(tensor))
    return found
