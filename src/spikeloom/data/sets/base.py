"""What a file of `sets/` declares about its image set."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikeloom.core.paper import Paper
from spikeloom.data.events import Events


@dataclass(frozen=True)
class Recordings:
    """How a set of an event camera's recordings lies on a disk.

    folder: below the data folder. span: us that frames by time cut, from 0; 0 for each recording's own. advice: where the files come from.
    files: those of a part, `"train"` or `"test"`, in the set's order, given the folder; DataError where one is missing.
    read: what is in a file, events and label of each recording.
    """

    folder: str
    span: int
    advice: str
    files: Callable[[Path, str], list[Path]]
    read: Callable[[Path], Iterable[tuple[Events, int]]]


@dataclass(frozen=True)
class Card:
    """An image set: `train` + `test` images `[channels, side, side]` of uint8, one label below `len(classes)` each.

    `validation` is how many training images its validation split holds; `mean` and `std` are per channel, of pixels in [0, 1].
    `hub` names the Hugging Face dataset repository. A set without one comes inside the installed distribution `bundled_in`, and
    `read` returns it whole: images uint8 `[N, C, H, W]` and labels int64 `[N]`, from which `test` images are cut by `split`.
    A set with `recordings` has frames of event counts for images; it has no mean and std, and `channels` are the polarities.
    """

    key: str
    title: str
    classes: tuple[str, ...]
    channels: int
    side: int
    train: int
    test: int
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    paper: Paper
    hub: str = ""
    bundled_in: str = ""
    read: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    recordings: Recordings | None = None
