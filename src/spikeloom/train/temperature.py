"""Dspike's choice of temperature: the one whose surrogate gradient points most like the finite-difference gradient.

    g[i] = (L(w + eps 1_i) - L(w - eps 1_i)) / (2 eps)          over the first layer's weights, true spikes
    b <- argmax over {b, b + step, b - step} of cos(g, dL/dw under temperature b)

Li et al. 2021, Algorithm 1. The paper's start, step and eps were not at hand: the defaults here are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.neurons import Neuron
from spikeloom.surrogates import Dspike

LOW, HIGH = 0.1, 10.0


@torch.no_grad()
def finite_difference(loss: Callable[[], Tensor], weight: Tensor, eps: float = 0.1) -> Tensor:
    """Central differences of `loss()` (a scalar) for every element of `weight`, same shape; 2 calls an element. Exact for a quadratic."""
    flat, gradient = weight.view(-1), torch.empty_like(weight).view(-1)
    for i in range(flat.numel()):
        kept = flat[i].clone()
        flat[i] = kept + eps
        above = loss()
        flat[i] = kept - eps
        gradient[i] = (above - loss()) / (2 * eps)
        flat[i] = kept
    return gradient.view_as(weight)


def alignment(loss: Callable[[], Tensor], weight: nn.Parameter, target: Tensor) -> float:
    """Cosine between the surrogate gradient of `loss()` with respect to `weight` and `target`; 0 when one of them vanishes."""
    (gradient,) = torch.autograd.grad(loss(), weight)
    return float(F.cosine_similarity(gradient.flatten(), target.flatten(), dim=0))


def choose_temperature(
    net: nn.Module, loss: Callable[[], Tensor], weight: nn.Parameter, *, step: float = 0.2, eps: float = 0.1
) -> dict[float, float]:
    """Set every Dspike surrogate of `net` to the best of b, b + step, b - step, and return the cosine of each candidate.

    loss: the scalar loss of one fixed batch. weight: the first layer's. b stays in [0.1, 10].
    Raises ParameterError when `net` has no neuron with a Dspike surrogate.
    """
    neurons = [m for m in net.modules() if isinstance(m, Neuron) and isinstance(m.surrogate, Dspike)]
    if not neurons:
        advice = 'give its neurons surrogate="dspike"'
        raise ParameterError(refusal("choose_temperature", type(net).__name__, "a network with Dspike surrogates", advice))
    target = finite_difference(loss, weight.detach(), eps)
    now = neurons[0].surrogate.temperature
    scores: dict[float, float] = {}
    for b in (now, min(now + step, HIGH), max(now - step, LOW)):
        _set(neurons, b)
        scores[b] = alignment(loss, weight, target)
    _set(neurons, max(scores, key=lambda b: scores[b]))
    return scores


def _set(neurons: Iterable[Neuron], temperature: float) -> None:
    for neuron in neurons:
        neuron.surrogate = Dspike(temperature=temperature)
