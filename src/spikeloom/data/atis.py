"""ATIS `.bin` files, the format of N-MNIST and N-Caltech101 (Orchard et al. 2015): 5 bytes an event.

    x (8 bits), y (8 bits), polarity (1 bit, 1: ON), time in us (23 bits); high bits first

A y of 240 is no event: the clock has wrapped, and all later times are 2^13 us more.
"""

from pathlib import Path

import numpy as np

from spikeloom.core.errors import DataError, refusal
from spikeloom.data.events import Events

BYTES, WRAPPED, WRAP = 5, 240, 1 << 13


def read(path: Path) -> Events:
    """The events of a file. Raises DataError for one that is missing, empty, truncated or not in order of time."""
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not raw.size or raw.size % BYTES:
        raise DataError(refusal(f"{path}: bytes", raw.size, f"a multiple of {BYTES}, and not 0", "it is truncated or no ATIS file"))
    x, y, high, middle, low = raw.reshape(-1, BYTES).astype(np.int64).T
    wrapped = y == WRAPPED
    t = ((high & 127) << 16 | middle << 8 | low) + WRAP * np.cumsum(wrapped)
    t, x, y, p = (value[~wrapped] for value in (t, x, y, high >> 7))
    if (np.diff(t) < 0).any():
        raise DataError(f"{path}: its events are not in order of time; it is damaged or no ATIS file")
    return Events(t, x, y, p)
