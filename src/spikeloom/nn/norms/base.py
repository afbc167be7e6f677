"""What a temporal norm is: a normalisation that knows time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikeloom.core.temporal import Temporal


class TemporalNorm(Temporal):
    """Base of the norms whose statistics or scales involve the time axis. Input and output are `[T*B, C, ...]`."""

    @property
    def needs_all_steps(self) -> bool:
        return self.training


class AffineNorm(TemporalNorm):
    """A norm that is an affine map per channel on given statistics, so that the neuron behind it can apply it in its own kernel.

    While `deferred` is set, calling it hands x on as it is, and that neuron does the rest.
    """

    running_mean: Tensor
    running_var: Tensor
    deferred = False

    def affine(self, mean: Tensor, variance: Tensor, *learned: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift `[C]` on these statistics and learned parameters; differentiable."""
        raise NotImplementedError

    def learned(self) -> tuple[Tensor, ...]:
        """The parameters that `affine` takes."""
        raise NotImplementedError

    def observe(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Take note of a batch's mean and population variance `[C]` over `count` values."""
        raise NotImplementedError

    def normalise(self, x: Tensor) -> Tensor:
        """The norm itself."""
        raise NotImplementedError


def scale_and_shift(scale: Tensor, mean: Tensor, learned: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The affine map `[C]` of (x - mean) * scale, then of the learned weight and bias if there are any."""
    if not learned:
        return scale, -mean * scale
    weight, bias = learned
    scale = scale * weight
    return scale, bias - mean * scale


@torch.no_grad()
def track(norm: Any, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the norm's running statistics by its momentum; the variance of the population becomes that of a sample of `count`."""
    norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
    norm.running_var.lerp_(variance.to(norm.running_var) * (count / max(count - 1, 1)), norm.momentum)
