"""What a file of `sets/` declares about its image set."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikeloom.core.paper import Paper


@dataclass(frozen=True)
class Card:
    """An image set: `train` + `test` images `[channels, side, side]` of uint8, one label below `len(classes)` each.

    `validation` is how many training images its validation split holds; `mean` and `std` are per channel, of pixels in [0, 1].
    `hub` names the Hugging Face dataset repository. A set without one comes inside the installed distribution `bundled_in`, and
    `read` returns it whole: images uint8 `[N, C, H, W]` and labels int64 `[N]`, from which `test` images are cut by `split`.
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
