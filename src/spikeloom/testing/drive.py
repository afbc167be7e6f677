"""What the contracts share: a neuron built for a check, an input that makes it fire, and comparison bit by bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from spikeloom.neurons import Neuron


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Parameters made inside are of `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values of the default dtype, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def drive(neuron: Neuron, *shape: int, seed: int = 0) -> Tensor:
    """Random input `shape` = (T, B, ...) on which the neuron fires at some places and is silent at others."""
    x = noise(*shape, seed=seed) + 0.5
    probe = noise(8, max(1, 512 // math.prod(shape[2:])), *shape[2:], seed=seed + 1) + 0.5
    with torch.no_grad():
        for scale in (1.0, 2.0, 0.5, 4.0, 0.25, 8.0, 16.0, 64.0, 256.0, 1024.0):
            active = (neuron.run(probe * scale)[0] != 0).double().mean().item()
            if 0.02 < active < 0.98:
                return x * scale
    raise AssertionError("no normal input with a scale from 1/4 to 1024 makes it fire at some places and stay silent at others")


def choices(neuron_class: type[Neuron], name: str, *wanted: str) -> list[str]:
    """Those of the `wanted` literals that the class allows for its choice `name`."""
    return [literal for literal in wanted if name in neuron_class.choices and literal in neuron_class.choices[name].allowed]


def same(got: Tensor, expected: Tensor, what: str) -> None:
    """Assert that two tensors are equal bit by bit (NaN equals NaN)."""
    assert got.shape == expected.shape, f"{what}: shape {list(got.shape)} instead of {list(expected.shape)}"
    assert got.dtype == expected.dtype, f"{what}: dtype {got.dtype} instead of {expected.dtype}"
    differ = ~((got == expected) | (got.isnan() & expected.isnan()))
    if differ.any():
        where = tuple(differ.nonzero()[0].tolist())
        raise AssertionError(
            f"{what}: {int(differ.sum())} of {differ.numel()} values differ, first at {where}: "
            f"{got[where].item()} instead of {expected[where].item()}"
        )


def near(got: Tensor, expected: Tensor, what: str, *, relative: float = 0.0, absolute: float = 0.0) -> None:
    """Assert that two tensors agree to a tolerance and are finite."""
    assert got.shape == expected.shape, f"{what}: shape {list(got.shape)} instead of {list(expected.shape)}"
    assert got.isfinite().all(), f"{what}: not finite"
    error = (got - expected).abs()
    excess = error - absolute - relative * expected.abs()
    if excess.numel() and excess.max() > 0:
        where = tuple(torch.unravel_index(excess.argmax(), excess.shape))
        raise AssertionError(
            f"{what}: off by {error[where].item():.3g}, worst {got[where].item():.12g} instead of {expected[where].item():.12g}"
        )


def spread(neuron: Neuron, factors: Tensor) -> Neuron:
    """`neuron` itself with every scalar parameter replaced by one value per channel, its own times `factors` `[C]`."""
    for table in (neuron._buffers, neuron._parameters):
        for name, value in table.items():
            if value is not None and value.dim() == 0:
                wide = value.detach() * factors.to(value)
                table[name] = torch.nn.Parameter(wide) if table is neuron._parameters else wide
    return neuron
