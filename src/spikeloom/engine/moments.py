"""A norm in front of a neuron: statistics of x, the affine map per channel that they give, and the gradient of both."""

from __future__ import annotations

import struct
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikeloom.engine import cache as compiled
from spikeloom.engine import cpp
from spikeloom.engine.printer import COMPUTE


class BatchNormed:
    """The scale and shift `[C]` that `norm` has on the statistics of x, for a backward that reads x only twice.

    norm: `affine(mean, variance, *learned())` gives scale and shift, differentiable; `observe(mean, variance, count)` takes note.
    x is dense; inner: how many neighbours in memory share a channel.
    """

    def __init__(self, norm: Any, x: Tensor, inner: int) -> None:
        mean, variance = moments(x, inner)
        self.count = x.numel() // x.shape[1]
        norm.observe(mean, variance, self.count)
        self.mean = mean
        with torch.enable_grad():
            self.leaves = [t.detach().requires_grad_() for t in (mean, variance, *norm.learned())]
            self._scale, self._shift = norm.affine(*self.leaves)

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, outside of any graph."""
        return self._scale.detach(), self._shift.detach()

    def pull(self, x: Tensor, gx: Tensor | None, inner: int, gscale: Tensor, gshift: Tensor) -> list[Tensor]:
        """Gradients of the learned parameters; adds to gx what flows through the statistics."""
        gmean, gvariance, *learned = torch.autograd.grad(
            (self._scale, self._shift), self.leaves, (gscale, gshift), retain_graph=True, materialize_grads=True
        )
        if gx is not None:
            # mean = sum x / n, variance = sum (x - mean)^2 / n
            slope = gvariance * (2 / self.count)
            adjust(gx, x, inner, gmean / self.count - slope * self.mean, slope)
        return learned


def moments(x: Tensor, inner: int) -> tuple[Tensor, Tensor]:
    """Mean and population variance `[C]` of the dense x `[rows, C, ...]`, in float32 for 16-bit x."""
    if not x.is_cpu:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        variance, mean = torch.var_mean(wide, [d for d in range(x.dim()) if d != 1], correction=0)
        return mean, variance
    mean = torch.empty(x.shape[1], dtype=COMPUTE[x.dtype])
    variance = torch.empty_like(mean)
    _call("moments", x, inner, x, mean, variance)
    return mean, variance


def adjust(g: Tensor, x: Tensor, inner: int, a: Tensor, b: Tensor) -> None:
    """g += a + b x in place, a and b `[C]`; g lies in memory as x."""
    if not x.is_cpu:
        shape = (-1, *[1] * (x.dim() - 2))
        g.add_(torch.addcmul(a.view(shape), b.view(shape), x).to(g.dtype))
        return
    _call("adjust", x, inner, g, x, a.contiguous(), b.contiguous())


def _call(name: str, x: Tensor, inner: int, *tensors: Tensor) -> None:
    channels = x.shape[1]
    rows = x.numel() // (channels * inner)
    addresses = [t.data_ptr() for t in tensors]
    if _function(name, x.dtype)(_pack(4 + len(addresses))(rows, channels, inner, torch.get_num_threads(), *addresses)):
        raise MemoryError(f"no memory for the statistics of {list(x.shape)}")


@cache
def _pack(count: int) -> Any:
    return struct.Struct(f"{count}q").pack


@cache
def _function(name: str, storage: torch.dtype) -> Any:
    text = resources.files(__package__).joinpath("moments.cpp").read_text()
    return compiled.function(cpp.head(storage) + text, name)
