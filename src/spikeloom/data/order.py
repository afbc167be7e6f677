"""Orders that depend on nothing but whole numbers: the same on every machine and with every version of torch and numpy."""

import numpy as np

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.stream import key, stream


def permutation(count: int, *numbers: int) -> np.ndarray:
    """A permutation of 0..count-1, int64 `[count]`: a pure function of `count` and `numbers`."""
    return np.argsort(stream(key(*numbers), count), kind="stable").astype(np.int64)


def split(labels: np.ndarray, validation: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cut `validation` images from a training set with each class's share kept: (train, validation) indices, int64, sorted.

    labels: whole numbers `[N]`. Shares are rounded by largest remainder, so that the sizes are exact.
    """
    labels = np.asarray(labels)
    if not 0 <= validation < len(labels):
        raise ParameterError(refusal("split validation", validation, f"at least 0 and below the {len(labels)} labels given"))
    classes, counts = np.unique(labels, return_counts=True)
    wanted = counts * validation // len(labels)
    remainder = counts * validation % len(labels)
    wanted[np.argsort(-remainder, kind="stable")[: validation - wanted.sum()]] += 1
    held_out = np.zeros(len(labels), dtype=bool)
    shuffled = permutation(len(labels), seed)
    for label, count in zip(classes, wanted, strict=True):
        held_out[shuffled[labels[shuffled] == label][:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
