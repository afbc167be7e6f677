"""Norms folded into the layer before them, for inference."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spikeloom.nn.norms.tdbn import TdBN


def fold_norms(net: nn.Module) -> nn.Module:
    """A copy of `net` in evaluation mode where every tdBN or BatchNorm that directly follows a convolution or linear layer in an
    `nn.Sequential` is part of that layer's weight and bias. Same outputs up to rounding."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            for i, (layer, norm) in enumerate(zip(list(module)[:-1], list(module)[1:], strict=True)):
                folded = _fold(layer, norm)
                if folded is not None:
                    module[i], module[i + 1] = folded, nn.Identity()
    return net


def _fold(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    if isinstance(norm, TdBN) and isinstance(layer, nn.Conv2d | nn.Linear):
        return norm.fold(layer)
    if isinstance(norm, nn.BatchNorm2d) and isinstance(layer, nn.Conv2d):
        return fuse_conv_bn_eval(layer, norm)
    if isinstance(norm, nn.BatchNorm1d) and isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return None
