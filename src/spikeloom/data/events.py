"""Recordings of event cameras as frames of event counts. How T frames are cut is a named literal, `cuts`:

    "time"    bin = (t - start) // width, width = span // T     equal times; later events join the last bin
    "count"   bin = i // (N // T) for event i of N              equal numbers of events; the rest join the last bin

With a span of 0, times run from the recording's first event to its last. Both are the rules of SpikingJelly's data sets.
"""

from typing import NamedTuple

import numpy as np

from spikeloom.core.errors import DataError, ShapeError, refusal
from spikeloom.core.params import Choice

CUTS = Choice(("time", "count"), "how a recording is cut into frames")
MOST = 255  # of a uint8


class Events(NamedTuple):
    """A recording, in order of time: `t` int64 in us from its start, `x`, `y` and `p` (0: OFF, 1: ON) int64, each `[N]`."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


def frames(events: Events, steps: int, cuts: str, side: int, span: int = 0) -> np.ndarray:
    """Counts uint8 `[steps, 2, side, side]`, OFF before ON; they sum to the number of events. span: us, 0 for the recording's own.

    Raises ShapeError for an event off the sensor, DataError where more than 255 events fall on one count.
    """
    for name, value in (("x", events.x), ("y", events.y)):
        if value.size and not 0 <= value.min() <= value.max() < side:
            raise ShapeError(refusal(f"events {name}", [int(value.min()), int(value.max())], f"from 0 to {side - 1}"))
    place = ((bins(events, steps, cuts, span) * 2 + events.p) * side + events.y) * side + events.x
    counts = np.bincount(place, minlength=steps * 2 * side * side)
    if counts.max() > MOST:
        raise DataError(refusal("events on one pixel in one frame", int(counts.max()), f"at most {MOST}", "cut into more frames"))
    return counts.astype(np.uint8).reshape(steps, 2, side, side)


def bins(events: Events, steps: int, cuts: str, span: int = 0) -> np.ndarray:
    """The frame of each event, int64 `[N]`."""
    count = len(events.t)
    if CUTS.check("frames", cuts) == "count":
        found = np.arange(count) // max(1, count // steps)
    elif span:
        found = events.t // max(1, span // steps)
    else:
        start, end = (events.t[0], events.t[-1]) if count else (0, 0)
        found = (events.t - start) // max(1, (end - start) // steps)
    return np.minimum(found, steps - 1)


def picture(counts: np.ndarray) -> np.ndarray:
    """What a recording `[T, 2, H, W]` shows as an image `[3, H, W]`, uint8: ON red, OFF blue, the most events of a pixel brightest."""
    off, on = counts.sum(0, dtype=np.float64)
    image = np.stack([on, np.minimum(on, off), off])
    return np.rint(image * (MOST / max(1.0, image.max()))).astype(np.uint8)
