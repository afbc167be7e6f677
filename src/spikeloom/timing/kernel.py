"""The compiled ReL-PSP: event by event, forward and backward, in memory of the order of inputs and outputs."""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp
from spikeloom.engine.dispatch import backend
from spikeloom.timing.wiring import Wiring


def usable(t: Tensor) -> bool:
    """Whether the kernel can run on t; raises CannotCompile where `SPIKELOOM_BACKEND=cpp` asks for what cannot be."""
    if not t.is_cpu or backend() not in ("auto", "cpp"):
        return False
    try:
        return _function("forward", t.dtype) is not None
    except compiled.CannotCompile:
        if backend() == "cpp":
            raise
        return False


def forward(t: Tensor, weight: Tensor, wiring: Wiring, threshold: float, until: float) -> tuple[Tensor, Tensor]:
    """Output times and slopes `[B, places, outs]` from t `[B, inputs]` and weight `[outs, taps]`; the slope of a silent one is 0."""
    out = t.new_empty(len(t), wiring.places, len(weight))
    slope = torch.empty_like(out)
    _call("forward", t, weight, wiring, (threshold, until), out, slope)
    return out, slope


def backward(
    t: Tensor, weight: Tensor, wiring: Wiring, push: float, grad: Tensor, out: Tensor, slope: Tensor, times: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of t (None unless `times`) and of weight."""
    gt, gw = torch.empty_like(t) if times else None, torch.empty_like(weight)
    _call("backward", t, weight, wiring, (push, 0.0), grad, out, slope, gt, gw)
    return gt, gw


def _call(name: str, t: Tensor, weight: Tensor, wiring: Wiring, numbers: tuple[float, float], *tensors: Tensor | None) -> None:
    sizes = (len(t), wiring.inputs, wiring.places, len(weight), wiring.taps, torch.get_num_threads())
    addresses = [0 if a is None else a.data_ptr() for a in (*_reversed(wiring), t, weight, *tensors)]
    if _function(name, t.dtype)(struct.pack(f"6q2d{len(addresses)}q", *sizes, *numbers, *addresses)):
        raise MemoryError(f"no memory for the spikes of {list(t.shape)} inputs")


@lru_cache(64)
def _reversed(wiring: Wiring) -> tuple[Tensor, Tensor, Tensor]:
    return wiring.reversed()


@cache
def _function(name: str, storage: torch.dtype) -> Any:
    text = resources.files(__package__).joinpath("relpsp.cpp").read_text()
    return compiled.function(cpp.head(storage) + text, name)
