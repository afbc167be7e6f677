"""What a timing layer is: spike times in, spike times out, without a grid of time."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TimingLayer(nn.Module):
    """A layer whose neurons spike at most once: maps the times `[B, ...]` of its inputs to those of its outputs; infinity: no spike.

    `weight` has one row per output neuron, or per channel of one. emits: `"times"`, or `"membrane"`: potentials, of neurons that only
    collect.
    """

    weight: Tensor
    emits = "times"
    stride: tuple[int, int] = (1, 1)  # of a convolution
    padding: tuple[int, int] = (0, 0)
    terminals = 1  # of a synapse: its delays, the last dimension of `weight` if there are several

    def reached(self, spikes: Tensor) -> Tensor:
        """How many terminals of synapses the spikes `[B, ...]` (1 where an input fired, else 0) reach, per image `[B]`: as many as rows
        of `weight` read each, in a convolution at every place."""
        if self.weight.dim() >= 4:
            ones = torch.ones(1, 1, *self.weight.shape[2:4], device=spikes.device, dtype=spikes.dtype)
            spikes = nn.functional.conv2d(spikes.sum(1, keepdim=True), ones, None, self.stride, self.padding)
        return spikes.flatten(1).sum(1) * (self.weight.shape[0] * self.terminals)
