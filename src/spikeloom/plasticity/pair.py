"""STDP of spike pairs: the window, and the form with one trace on each side that computes it as spikes come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.params import Choice
from spikeloom.plasticity.base import bounded, checked, positive

paper = bibliography.SONG


@dataclass(frozen=True)
class Constants:
    """gain: of a post spike after a pre spike, loss: of the opposite order, both without unit; time constants in ms; bounds of the weights.

    pairing: `"all"` spikes pair with all before them, or each with the `"nearest"` one.
    """

    gain: float = 0.01
    loss: float = 0.012
    tau_pre: float = 20.0
    tau_post: float = 20.0
    low: float = 0.0
    high: float = 1.0
    pairing: str = "all"

    def __post_init__(self) -> None:
        positive(self, "tau_pre", "tau_post")
        bounded(self)
        Choice(("all", "nearest")).check("pairing", self.pairing)


class Traces(NamedTuple):
    """pre: `[in, 1]`, or `[in, out]` where synapses have delays of their own; post: `[out]`. All start at 0."""

    pre: Tensor
    post: Tensor


def window(lag: Tensor, constants: Constants | None = None) -> Tensor:
    """Change of a weight by one pair, of lag's shape; lag = t_post - t_pre in ms. 0 at lag 0.

    gain exp(-lag / tau_pre) for lag > 0, -loss exp(lag / tau_post) for lag < 0.
    """
    c = constants or Constants()
    grows, shrinks = c.gain * torch.exp(-lag.abs() / c.tau_pre), -c.loss * torch.exp(-lag.abs() / c.tau_post)
    return torch.where(lag > 0, grows, torch.where(lag < 0, shrinks, 0.0))


def start(weights: Tensor, pre: Tensor) -> Traces:
    """Traces at rest for weights `[in, out]` and spikes pre `[in]` or `[in, out]`."""
    return Traces(weights.new_zeros(len(weights), weights.shape[1] if pre.dim() == 2 else 1), weights.new_zeros(weights.shape[1]))


def change(weights: Tensor, traces: Traces, pre: Tensor, post: Tensor, dt: float, constants: Constants) -> tuple[Tensor, Traces]:
    """What one step adds to the weights before they are bounded, `[in, out]`, and the new traces; arguments as `update`."""
    c, arrived = constants, checked(weights, pre, post)
    before, after = traces.pre * math.exp(-dt / c.tau_pre), traces.post * math.exp(-dt / c.tau_post)
    added = c.gain * before * post - c.loss * after * arrived
    kept = 1 if c.pairing == "all" else 0
    return added, Traces(torch.where(arrived, kept * before + 1, before), torch.where(post, kept * after + 1, after))


def update(
    weights: Tensor, traces: Traces, pre: Tensor, post: Tensor, dt: float, constants: Constants | None = None
) -> tuple[Tensor, Traces]:
    """One step of `dt` ms: the traces decay, spikes change weights by the traces as they were before, and raise them.

    weights: `[in, out]`; pre: spikes `[in]` or, as they arrive at each synapse, `[in, out]`; post: `[out]`; both bool. Nothing is changed
    in place. On post: w += gain pre; on pre: w -= loss post. Spikes of the same step do not pair. Raises ShapeError.
    Source: Song, Miller and Abbott 2000.
    """
    c = constants or Constants()
    added, traces = change(weights, traces, pre, post, dt, c)
    return (weights + added).clamp(c.low, c.high), traces
