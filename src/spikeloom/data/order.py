"""Orders that depend on nothing but whole numbers: the same on every machine and with every version of torch and numpy.

The hash is SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195).
"""

import numpy as np

from spikeloom.core.errors import ParameterError, refusal

_GAMMA, _A, _B, _MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 2**64 - 1


def stream(seed: int, count: int) -> np.ndarray:
    """The first `count` numbers of SplitMix64, uint64 `[count]`; any whole number is a seed, taken modulo 2^64."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA) + np.full(count, seed & _MASK, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_A)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_B)
    return z ^ (z >> np.uint64(31))


def key(*numbers: int) -> int:
    """One 64-bit number made of several, such as (seed, epoch)."""
    mixed = 0
    for number in numbers:
        mixed = int(stream(mixed ^ (int(number) & _MASK), 1)[0])
    return mixed


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
