"""The modules that a converted graph is made of, by what a change of scale may do with them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.convert.affine import Affine, Clip, along
from spikeloom.nn.activations import QCFS
from spikeloom.nn.pool import SpikingMaxPool2d

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Identity)
AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
# f(s x) = s f(x) for positive s, channel by channel
HOMOGENEOUS = (
    *AVERAGE_POOLS, *MAX_POOLS, SpikingMaxPool2d, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.Upsample, nn.UpsamplingNearest2d,
    nn.UpsamplingBilinear2d,
)  # fmt: skip
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, Clip, QCFS)
SOFTMAXES = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d)
ALL = (*WEIGHTED, *NORMS, *DROPOUTS, *HOMOGENEOUS, *ACTIVATIONS, *SOFTMAXES, nn.Flatten, Affine)


def slope(module: nn.Module) -> float:
    """Slope of an activation below 0."""
    return float(module.negative_slope) if isinstance(module, nn.LeakyReLU) else 0.0


def cap(module: nn.Module) -> Tensor:
    """The largest value of an activation; infinity where there is none."""
    if isinstance(module, QCFS):
        return module.scale.detach()
    if isinstance(module, Clip):
        return module.cap
    return torch.tensor(float(module.max_val) if isinstance(module, nn.Hardtanh) else math.inf)  # ReLU6 is a Hardtanh


def in_units(module: nn.Module, scale: Tensor) -> nn.Module:
    """The activation g with f(x) = scale * g(x / scale)."""
    if isinstance(module, QCFS):
        return QCFS(levels=module.levels, scale=float(module.scale / scale))
    limit = cap(module)
    return module if bool(torch.isinf(limit).all()) else Clip(limit.to(scale) / scale)


@torch.no_grad()
def scale_outputs(module: Any, factor: Tensor) -> None:
    """Multiply what a weighted layer or an `Affine` gives by `factor`, a number or one per output channel, in place."""
    if isinstance(module, Affine):
        module.scale = module.scale * factor
        module.shift = None if module.shift is None else module.shift * factor
        return
    weight = module.weight
    if isinstance(module, TRANSPOSED) and factor.dim():
        rows = factor.view(module.groups, -1).repeat_interleave(module.in_channels // module.groups, 0)  # [in, out / groups]
        weight.mul_(rows.view(*rows.shape, *[1] * (weight.dim() - 2)))
    else:
        weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)) if factor.dim() else factor)
    if module.bias is not None:
        module.bias.mul_(factor)


@torch.no_grad()
def scale_inputs(module: Any, factor: Tensor) -> None:
    """Make a weighted layer or an `Affine` multiply its input by `factor`, a number or one per input channel, in place."""
    if isinstance(module, Affine):
        module.scale = module.scale * factor
    elif not factor.dim():
        module.weight.mul_(factor)
    elif isinstance(module, TRANSPOSED):
        module.weight.mul_(factor.view(-1, *[1] * (module.weight.dim() - 1)))
    elif isinstance(module, CONVOLUTIONS) and module.groups > 1:
        groups = factor.view(module.groups, -1).repeat_interleave(module.out_channels // module.groups, 0)  # [out, in / groups]
        module.weight.mul_(groups.view(*groups.shape, *[1] * (module.weight.dim() - 2)))
    else:
        module.weight.mul_(along(factor, module.weight.dim()))


@torch.no_grad()
def shift_outputs(module: Any, shift: Tensor) -> None:
    """Add `shift`, one number per output channel, to what a weighted layer or an `Affine` gives, in place."""
    name = "shift" if isinstance(module, Affine) else "bias"
    old = getattr(module, name)
    if isinstance(module, Affine):
        module.shift = shift.clone() if old is None else old + shift
    elif old is None:
        module.bias = nn.Parameter(shift.to(module.weight))
    else:
        old.add_(shift)
