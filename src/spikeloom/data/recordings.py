"""A set of an event camera's recordings: where its files are, and its frames as arrays."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.core.errors import DataError, ShapeError, SpikeloomError, refusal
from spikeloom.data import source
from spikeloom.data.events import Events, frames
from spikeloom.data.sets import Card, Recordings


def find(card: Card, data_dir: str | Path | None = None) -> Path:
    """The set's folder below `data_dir`, else below the folder in `SPIKELOOM_DATA`. Raises DataError where there is none."""
    layout, root = _layout(card), source.given(data_dir)
    if root is None:
        raise DataError(f"{card.key}: no data folder given; {layout.advice}, and pass --data-dir DIR or set SPIKELOOM_DATA=DIR")
    return source.existing(root, layout.folder, layout.advice.replace("DIR", str(root)), data_dir)


def fingerprint(card: Card, folder: Path) -> str:
    """16 hex digits of the files' names and sizes: a file has 5 bytes or more for each event."""
    digest = hashlib.sha256()
    for part in source.PARTS:
        for path in _layout(card).files(folder, part):
            digest.update(f"{path.relative_to(folder)}\n{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def events(card: Card, folder: Path, part: str) -> Iterator[tuple[Events, int]]:
    """Events and label of each recording of a part, in the set's order. Raises DataError that names a bad file."""
    for path in _layout(card).files(folder, part):
        for recorded, label in _layout(card).read(path):
            if not 0 <= label < len(card.classes):
                raise DataError(refusal(f"{path}: label", label, f"from 0 to {len(card.classes) - 1}", _layout(card).advice))
            yield recorded, label


def write(card: Card, folder: Path, part: str, cuts: str, steps: int, to: Path, advance: Callable[[int], Any]) -> None:
    """Write the frames `[N, steps, 2, side, side]` and the labels `[N]` of a part as .npy files into the folder `to`."""
    count = getattr(card, part)
    shape = (count, steps, card.channels, card.side, card.side)
    images, labels = np.lib.format.open_memmap(to / f"{part}_images.npy", "w+", np.uint8, shape), np.empty(count, np.int64)
    found = 0
    for recorded, label in events(card, folder, part):
        if found < count:
            images[found], labels[found] = _cut(card, recorded, part, found, cuts, steps), label
        found += 1
        advance(1)
    if found != count:
        raise DataError(refusal(f"{folder}: {card.key} {part} recordings", found, str(count), _layout(card).advice))
    images.flush()
    np.save(to / f"{part}_labels.npy", labels)


def counts(images: Tensor) -> Tensor:
    """Event counts uint8 `[B, T, C, H, W]` as a network takes them: float32 `[T, B, C, H, W]`, whole numbers."""
    if images.dtype != torch.uint8 or images.dim() != 5:
        raise ShapeError(refusal("counts", f"{images.dtype} {list(images.shape)}", "torch.uint8 [B, T, C, H, W]"))
    return images.movedim(1, 0).to(torch.float32)


def _cut(card: Card, recorded: Events, part: str, row: int, cuts: str, steps: int) -> np.ndarray:
    try:
        return frames(recorded, steps, cuts, card.side, _layout(card).span)
    except SpikeloomError as error:
        raise DataError(f"{card.key}: recording {row} of {part}: {error}") from error


def _layout(card: Card) -> Recordings:
    assert card.recordings is not None
    return card.recordings
