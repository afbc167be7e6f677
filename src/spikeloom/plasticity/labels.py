"""Names for neurons that learned without labels: each stands for the class it answers most."""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal

UNNAMED = -1


def assign(counts: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The class of the highest mean response of each neuron, int64 `[neurons]`; UNNAMED for one that never fired.

    counts: spikes `[images, neurons]`; labels: int64 `[images]`. The first of equal classes is taken. Diehl and Cook 2015.
    """
    if len(counts) != len(labels) or counts.dim() != 2:
        raise ShapeError(refusal("assign", [list(counts.shape), list(labels.shape)], "counts [images, neurons] and labels [images]"))
    means = _means(counts.T.double(), labels, classes)
    return torch.where(means.amax(1) > 0, means.argmax(1), UNNAMED)


def predict(counts: Tensor, names: Tensor, classes: int) -> Tensor:
    """The class whose neurons fired most on average, int64 `[images]`; counts: `[images, neurons]`, names: as `assign` gave them."""
    if counts.shape[1:] != names.shape:
        raise ShapeError(refusal("predict names", list(names.shape), f"one for each of the {counts.shape[1]} neurons"))
    named = names != UNNAMED
    return _means(counts[:, named].double(), names[named], classes).argmax(1)


def _means(values: Tensor, groups: Tensor, classes: int) -> Tensor:
    """Mean over the columns of each group, `[rows, classes]`; 0 where a group is empty."""
    member = torch.nn.functional.one_hot(groups, classes).double()
    return values @ member / member.sum(0).clamp(min=1)
