"""Decoded arrays on disk: a folder of .npy files and a manifest, built once, opened as memory maps.

A folder is built under a temporary name and renamed under a lock, so that it is whole or absent; of two processes that build it
at once, the second finds the first one's and drops its own. Every open checks dtype, shape and CRC-32 (about 0.03 s per 100 MB).
"""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spikeloom.core.errors import DataError
from spikeloom.core.lock import locked

FORMAT = 1
Arrays = dict[str, np.ndarray]


def root() -> Path:
    """`$SPIKELOOM_CACHE/data`, or `~/.cache/spikeloom/data`."""
    return Path(os.environ.get("SPIKELOOM_CACHE") or Path.home() / ".cache" / "spikeloom").expanduser() / "data"


def cached(name: str, build: Callable[[Path], None]) -> Arrays:
    """The arrays of folder `name` as read-only memory maps, built by `build(folder)`, which writes .npy files, when needed.

    A folder that is damaged is built again. Raises DataError when the cache cannot be written.
    """
    folder = root() / name
    for _ in range(3):  # another process may replace a damaged folder between our build and our open
        arrays = _open(folder)
        if arrays is not None:
            return arrays
        _build(folder, build)
    raise DataError(f"{folder}: cannot be read back as it was written; check the disk, or set SPIKELOOM_CACHE to a folder on another one")


def _open(folder: Path) -> Arrays | None:
    try:
        arrays = _maps(folder)
        return arrays if json.loads((folder / "manifest.json").read_text()) == _manifest(arrays) else None
    except (OSError, ValueError, EOFError):
        return None


def _maps(folder: Path) -> Arrays:
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def _manifest(arrays: Arrays) -> dict[str, object]:
    entries = {stem: {"dtype": str(a.dtype), "shape": list(a.shape), "crc32": zlib.crc32(a.data)} for stem, a in arrays.items()}
    return {"format": FORMAT, "arrays": entries}


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    advice = "free some space, or set SPIKELOOM_CACHE to a folder that can be written"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"{folder.parent}: cannot be written ({error}); {advice}") from error
    try:
        fresh = temporary / "fresh"
        fresh.mkdir()
        build(fresh)
        (fresh / "manifest.json").write_text(json.dumps(_manifest(_maps(fresh)), indent=1))
        with locked(folder.parent):
            if _open(folder) is None:
                if folder.exists():
                    os.replace(folder, temporary / "damaged")
                os.replace(fresh, folder)
    except OSError as error:
        if _open(folder) is None:  # else another process was faster
            raise DataError(f"{folder}: cannot be written ({error}); {advice}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
