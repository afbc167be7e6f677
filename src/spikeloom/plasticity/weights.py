"""Weights as a whole: their start, the normalisation of columns, and their picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal


def normalise(weights: Tensor, total: float) -> Tensor:
    """Weights `[in, out]` with every column scaled to the sum `total`; a column of zeros stays."""
    sums = weights.sum(0)
    return weights * torch.where(sums == 0, torch.ones_like(sums), total / sums)


def fields(weights: Tensor, side: int, most: float | None = None) -> Tensor:
    """Receptive fields side by side in a grid as near to a square as can be, grey uint8 `[H, W]`, dark is strong.

    weights: `[side * side, neurons]`; most: the weight drawn black, by default the largest. One light pixel lies between fields.
    """
    if weights.dim() != 2 or len(weights) != side * side:
        raise ShapeError(refusal("fields weights", list(weights.shape), f"[{side} * {side}, neurons]"))
    neurons = weights.shape[1]
    columns = math.ceil(math.sqrt(neurons))
    rows = -(-neurons // columns)
    scale = most or weights.max().item() or 1.0
    grey = (255 * (1 - (weights / scale).clamp(0, 1))).round().to(torch.uint8).T.reshape(neurons, side, side)
    padded = torch.nn.functional.pad(grey, (0, 1, 0, 1), value=255)
    blank = padded.new_full((rows * columns - neurons, side + 1, side + 1), 255)
    tiles = torch.cat([padded, blank]).view(rows, columns, side + 1, side + 1)
    return tiles.transpose(1, 2).reshape(rows * (side + 1), columns * (side + 1))[:-1, :-1]
