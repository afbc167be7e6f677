"""`load`: a set by name, as memory maps."""

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.core import registry
from spikeloom.core.errors import DataError, refusal
from spikeloom.core.params import Choice
from spikeloom.data import cache, parquet, recordings, sets, source
from spikeloom.data.order import split
from spikeloom.data.sets import Card

FRAMES = Choice(("none", "time", "count"), "how recordings are cut into frames; none for images")


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 `[N, C, H, W]` and labels int64 `[N]` in the source's order, read-only; mean and std per channel of pixels in [0, 1].

    Of recordings the images are event counts `[N, T, C, H, W]`, OFF before ON, without mean and std; `counts` makes them a network's input.
    `validation` is how many training images the set's validation split holds; `fingerprint` names the files it was read from.
    Two sources that order the images differently have different fingerprints and different splits.
    """

    name: str
    classes: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: int
    fingerprint: str


def load(name: str, data_dir: str | Path | None = None, frames: str = "none", steps: int = 0) -> ImageSet:
    """The set `name` (one of `sets.known`), decoded once and then memory-mapped from the cache.

    Parquet files come from `data_dir`/name, else `$SPIKELOOM_DATA`/name, else the Hugging Face hub; recordings from the folder of their
    card below `data_dir` or `$SPIKELOOM_DATA`; `digits` needs none.
    frames: how recordings are cut into `steps` frames of event counts, `"time"` or `"count"` (see `data.events`); `"none"` for images.
    Raises DataError for an unknown name, a missing, truncated or foreign file, and an unreachable hub.
    """
    card = registry.lookup("data set", name, sets.known, DataError)
    if (FRAMES.check("frames", frames) == "none") != (card.recordings is None):
        allowed = "'none': it has images" if card.recordings is None else "'time' or 'count': it has recordings"
        raise DataError(refusal(f"{card.key} frames", frames, allowed))
    if card.recordings is not None:
        if steps < 1:
            raise DataError(refusal(f"{card.key} steps", steps, "at least 1 frame"))
        folder = recordings.find(card, data_dir)
        fingerprint = recordings.fingerprint(card, folder)
        arrays = cache.cached(f"{card.key}-{fingerprint}-{frames}-{steps}", lambda to: _write_frames(card, folder, frames, steps, to))
    elif (read := card.read) is not None:
        fingerprint = _version(card)
        arrays = cache.cached(f"{card.key}-{fingerprint}", lambda folder: _write_split(read(), card.test, folder))
    else:
        found = source.find(card, data_dir)
        fingerprint = parquet.fingerprint(found)
        arrays = cache.cached(f"{card.key}-{fingerprint}", lambda folder: _write_decoded(found, folder))
    return ImageSet(card.key, card.classes, **arrays, mean=card.mean, std=card.std, validation=card.validation, fingerprint=fingerprint)


def _version(card: Card) -> str:
    try:
        return f"{card.bundled_in}-{importlib.metadata.version(card.bundled_in)}"
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"{card.key}: comes with {card.bundled_in}, not installed; run `pip install {card.bundled_in}`") from None


def _write_split(whole: tuple[np.ndarray, np.ndarray], count: int, folder: Path) -> None:
    images, labels = whole
    train, test = split(labels, count)
    for part, rows in (("train", train), ("test", test)):
        np.save(folder / f"{part}_images.npy", images[rows])
        np.save(folder / f"{part}_labels.npy", labels[rows])


def _write_decoded(found: source.Source, folder: Path) -> None:
    parquet.check(found)
    with _progress(found.card) as advance:
        for part in source.PARTS:
            images, labels = parquet.decode(found, part, advance)
            np.save(folder / f"{part}_images.npy", images)
            np.save(folder / f"{part}_labels.npy", labels)


def _write_frames(card: Card, folder: Path, cuts: str, steps: int, to: Path) -> None:
    with _progress(card) as advance:
        for part in source.PARTS:
            recordings.write(card, folder, part, cuts, steps, to, advance)


@contextmanager
def _progress(card: Card) -> Iterator[Callable[[int], Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"decoding {card.title}, once", total=card.train + card.test)
        yield lambda count: progress.advance(task, count)
