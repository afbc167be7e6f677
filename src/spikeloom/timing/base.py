"""What a timing layer is: spike times in, spike times out, without a grid of time."""

from __future__ import annotations

from torch import Tensor, nn


class TimingLayer(nn.Module):
    """A layer whose neurons spike at most once: maps the times `[B, ...]` of its inputs to those of its outputs; infinity: no spike.

    `weight` has one row per output neuron, or per channel of one.
    """

    weight: Tensor

    def reached(self, spikes: Tensor) -> Tensor:
        """How many synapses the spikes `[B, ...]` (1 where an input fired, else 0) reach, per image `[B]`; here each reaches every row."""
        return spikes.flatten(1).sum(1) * self.weight.shape[0]
