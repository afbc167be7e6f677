"""Parquet shards of encoded images -> uint8 arrays. pyarrow and Pillow are imported only when a set is decoded."""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.core.errors import DataError, refusal
from spikeloom.data.source import Source

_IMAGE_COLUMNS = ("image", "img")  # CIFAR-10 on the hub says img
_IMAGE_TYPES = ("struct<bytes: binary", "struct<bytes: large_binary")
_FORMATS = ("PNG", "WEBP", "JPEG")
_ROWS = 1000  # images read at once


def fingerprint(source: Source) -> str:
    """16 hex digits of the files' names, sizes and footers; a footer lists place and size of every column chunk."""
    digest = hashlib.sha256()
    for path in (path for part in source.files.values() for path in part):
        try:
            size = path.stat().st_size
            with path.open("rb") as handle:
                handle.seek(max(0, size - 8))
                footer = 8 + int.from_bytes(handle.read(4), "little")
                handle.seek(max(0, size - min(footer, 1 << 24)))
                digest.update(f"{path.name}\n{size}\n".encode() + handle.read())
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}); {source.advice}") from error
    return digest.hexdigest()[:16]


def check(source: Source) -> None:
    """Read every footer and compare the number of images with the official one; raises DataError."""
    for part, files in source.files.items():
        found, expected = 0, getattr(source.card, part)
        for path in files:
            with _opened(source, path) as file:
                found += file.metadata.num_rows
        if found != expected:
            what = f"{files[0].parent}: {source.card.key} {part} images in {', '.join(path.name for path in files)}"
            raise DataError(refusal(what, found, str(expected), f"a file is missing or does not belong here; {source.advice}"))


def decode(source: Source, part: str, advance: Callable[[int], Any]) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[N, C, H, W]` and labels int64 `[N]` of one part; calls `advance` with each number of images done.

    Raises DataError that names the file and the row of a bad image or label. One thread: Pillow holds the interpreter for
    most of a small image's time, and a pool was slower.
    """
    card = source.card
    count = getattr(card, part)
    images, labels = np.empty((count, card.channels, card.side, card.side), np.uint8), np.empty(count, np.int64)
    done = 0
    for path in source.files[part]:
        first = done
        for encoded, numbers in _read(source, path):
            _check_labels(source, path, numbers)
            labels[done : done + len(encoded)] = numbers
            for row, data in enumerate(encoded, done):
                images[row] = _image(source, path, row - first, data)
            done += len(encoded)
            advance(len(encoded))
    return images, labels


@contextmanager
def _opened(source: Source, path: Path) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"{path}: pyarrow, which reads it, is not installed; run `pip install pyarrow pillow`") from None
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a whole parquet file ({reason}); delete it and {source.advice}") from error


def _read(source: Source, path: Path) -> Iterator[tuple[list[Any], np.ndarray]]:
    with _opened(source, path) as file:
        types = {field.name: str(field.type) for field in file.schema_arrow}
        image = next((name for name in _IMAGE_COLUMNS if types.get(name, "").startswith(_IMAGE_TYPES)), None)
        if image is None or "label" not in types:
            raise DataError(refusal(f"{path}: columns", types, "image (or img), a struct<bytes: binary, ...>, and label", source.advice))
        for batch in file.iter_batches(_ROWS, columns=[image, "label"]):
            yield batch.column(image).field("bytes").to_pylist(), np.array(batch.column("label").to_pylist(), dtype=object)


def _check_labels(source: Source, path: Path, labels: np.ndarray) -> None:
    classes = len(source.card.classes)
    for label in set(labels):
        if not isinstance(label, int) or not 0 <= label < classes:
            raise DataError(refusal(f"{path}: label", label, f"a whole number from 0 to {classes - 1}", source.advice))


def _image(source: Source, path: Path, row: int, encoded: bytes | None) -> np.ndarray:
    from PIL import Image

    mode, side = {1: "L", 3: "RGB"}[source.card.channels], source.card.side
    try:
        with Image.open(io.BytesIO(encoded or b""), formats=_FORMATS) as picture:
            given, pixels = f"{picture.width} x {picture.height} {picture.mode}", np.asarray(picture)
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error: Pillow's have no common base
        reason = f"{len(encoded or b'')} bytes; {error}"
        raise DataError(f"{path}: image in row {row} cannot be decoded ({reason}); delete the file and {source.advice}") from error
    if given != (expected := f"{side} x {side} {mode}"):
        raise DataError(refusal(f"{path}: image in row {row}", given, expected, source.advice))
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
