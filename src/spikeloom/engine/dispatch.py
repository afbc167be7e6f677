"""Chooses the backend of a call, and says why not a faster one."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from spikeloom.core.errors import SpikeloomError, refusal
from spikeloom.engine import reference

BACKENDS = ("auto", "reference")


def backend() -> str:
    """The backend asked for by `SPIKELOOM_BACKEND` (default `auto`: the fastest that can)."""
    name = os.environ.get("SPIKELOOM_BACKEND", "auto")
    if name not in BACKENDS:
        raise SpikeloomError(refusal("SPIKELOOM_BACKEND", name, "one of " + ", ".join(BACKENDS)))
    return name


def explain(neuron: Any) -> tuple[str, str]:
    """`(backend, reason)` that a call of `neuron` takes in this process."""
    return "reference", "the only backend of this version"


def run(neuron: Any, x: Tensor, steps: int, state: tuple[Tensor, ...], values: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Spikes `[T*B, ...]` and final state of `neuron` on input x `[T*B, ...]`."""
    return reference.scan(neuron, x, steps, state, values)
