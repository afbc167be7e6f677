"""tdBN, threshold-dependent batch normalisation.

    y = weight * alpha * threshold * (x - E[x]) / sqrt(Var[x] + eps) + bias

Statistics per channel over time, batch and space, so that pre-activations start as N(0, (alpha threshold)^2). alpha is 1 in a
chain and 1/sqrt(n) where n branches are added before one neuron. At alpha * threshold = 1 it is BatchNorm on `[T*B, C, ...]`.
Conflict between sources: eps stands inside the root in the paper's published forms and outside it in MLF's released code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.core import bibliography
from spikeloom.core.errors import ShapeError, refusal
from spikeloom.core.params import Choice, Param
from spikeloom.nn.norms.base import AffineNorm, scale_and_shift, track


class TdBN(AffineNorm):
    """Threshold-dependent batch norm over `[T*B, C, ...]`.

    Args:
        channels: C.
        threshold: the firing threshold of the neuron that follows.
        alpha: 1/sqrt(number of branches that are added before that neuron).
        epsilon: `"inside"` the root or `"outside"` it.
        affine: `"learned"` weight and bias, or `"none"`.

    Raises: ShapeError when the input has another number of channels.
    """

    paper = bibliography.TDBN

    def __init__(
        self, channels: int, *, threshold: float = 0.5, alpha: float = 1.0, epsilon: str = "inside", eps: float = 1e-5,
        momentum: float = 0.1, affine: str = "learned",
    ) -> None:
        super().__init__()
        self.epsilon = Choice(("inside", "outside"), "where eps stands relative to the square root").check("TdBN.epsilon", epsilon)
        Choice(("learned", "none")).check("TdBN.affine", affine)
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.scale = float(Param(1.0, low=0, low_open=True).check("TdBN.threshold", threshold)) * alpha
        self.weight = nn.Parameter(torch.ones(channels)) if affine == "learned" else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine == "learned" else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x `[T*B, C, ...]` normalised, same shape."""
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ShapeError(refusal("TdBN input", list(x.shape), f"[T*B, {self.channels}, ...]"))
        return x if self.deferred else self.normalise(x)

    def normalise(self, x: Tensor) -> Tensor:
        if self.epsilon == "inside":
            weight = self.weight * self.scale if self.weight is not None else torch.full_like(self.running_mean, self.scale)
            return F.batch_norm(x, self.running_mean, self.running_var, weight, self.bias, self.training, self.momentum, self.eps)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            over = [d for d in range(x.dim()) if d != 1]
            variance, mean = torch.var_mean(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x, over, correction=0)
            self.observe(mean, variance, x.numel() // self.channels)
        scale, shift = self.affine(mean, variance, *self.learned())
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * scale.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)

    def affine(self, mean: Tensor, variance: Tensor, *learned: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.scale / ((variance + self.eps).sqrt() if self.epsilon == "inside" else variance.sqrt() + self.eps)
        return scale_and_shift(scale, mean, learned)

    def learned(self) -> tuple[Tensor, ...]:
        return () if self.weight is None or self.bias is None else (self.weight, self.bias)

    def observe(self, mean: Tensor, variance: Tensor, count: int) -> None:
        track(self, mean, variance, count)

    def fold(self, layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
        """A copy of `layer` that computes norm(layer(x)) with the running statistics."""
        import copy

        folded = copy.deepcopy(layer)
        scale, shift = self.affine(self.running_mean, self.running_var, *self.learned())
        with torch.no_grad():
            folded.weight.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
            bias = shift if layer.bias is None else layer.bias * scale + shift
            folded.bias = nn.Parameter(bias.detach().clone())
        return folded

    def extra_repr(self) -> str:
        return f"{self.channels}, scale={self.scale:g}, eps={self.eps:g} {self.epsilon} the root"
