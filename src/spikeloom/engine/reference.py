"""The reference loop: truth for every other backend, and what runs where no kernel can."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def scan(neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...], values: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run `neuron.step` over time.

    x: `[T*B, ...]`, block t in rows t*B to (t+1)*B. state and values broadcast against `[B, ...]`.
    Returns spikes `[T*B, ...]` in x's dtype and memory format, and the final state. The state is float32 for 16-bit input.
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    spikes = []
    for x_t in wide.split(x.shape[0] // steps):
        s, state = neuron.step(x_t, state, values)
        spikes.append(s)
    return torch.cat(spikes).to(x.dtype), state
