"""Random numbers that depend on nothing but whole numbers: the same on every machine and with every version of torch and numpy.

The hash is SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195).
"""

import numpy as np

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


def uniform(seed: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), float64 `[count]`: the upper 53 bits of `stream`."""
    return (stream(seed, count) >> np.uint64(11)) * 2.0**-53
