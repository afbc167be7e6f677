"""Small parquet sets made on the spot, and the folder of the real ones where there is one."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from spikeloom.core.paper import Paper
from spikeloom.data import sets
from spikeloom.data.sets import Card


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real sets: `SPIKELOOM_DATA`, else ../shared/data beside the repository; skips when there is neither."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SPIKELOOM_DATA") or beside)
    if not folder.is_dir():
        pytest.skip("no real data: set SPIKELOOM_DATA to a folder with mnist/, fashion_mnist/ and cifar10/")
    return folder


@dataclass
class Tiny:
    """A registered set of 3 classes in `root`/tiny (train in two shards), with the arrays that it must give back."""

    card: Card
    root: Path
    arrays: dict[str, np.ndarray]

    def rows(self, part: str, rows: slice, kind: str = "PNG") -> tuple[list[bytes], list[int]]:
        """Encoded images and labels of one shard."""
        images, labels = self.arrays[f"{part}_images"][rows], self.arrays[f"{part}_labels"][rows]
        return [self.encode(image, kind) for image in images], labels.tolist()

    def encode(self, pixels: np.ndarray, kind: str = "PNG") -> bytes:
        """The file bytes of one image uint8 `[C, H, W]`."""
        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(out, kind, lossless=True)
        return out.getvalue()

    def put(self, name: str, encoded: list, labels: list, column: str = "image", folder: str = "tiny") -> Path:
        """Write a file in the hub's layout: `column: struct<bytes, path>` and `label`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.root / folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(encoded)], kind)
        pq.write_table(pa.table({column: images, "label": labels}), path)
        return path

    def write(self, kind: str = "PNG", **layout: str) -> None:
        """All three files."""
        self.put("train-00000-of-00002", *self.rows("train", slice(0, 7), kind), **layout)
        self.put("train-00001-of-00002", *self.rows("train", slice(7, 12), kind), **layout)
        self.put("test-00000-of-00001", *self.rows("test", slice(0, 6), kind), **layout)


@pytest.fixture
def make_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tiny]:
    """`make_tiny(channels, kind=..., column=..., folder=...)`: a written set, an empty cache and no SPIKELOOM_DATA."""
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)

    def make(channels: int = 1, **layout: str) -> Tiny:
        paper = Paper("nobody2000tiny", "Tiny", "Nobody", "Nowhere", 2000)
        grey = (0.5,) * channels
        card = Card("tiny", "Tiny", ("a", "b", "c"), channels, 5, 12, 6, 3, grey, grey, "none", paper, hub="nobody/tiny")
        monkeypatch.setitem(sets.known, "tiny", card)
        rng = np.random.default_rng(channels)
        arrays = {}
        for part, count in (("train", 12), ("test", 6)):
            arrays[f"{part}_images"] = rng.integers(0, 256, (count, channels, 5, 5), dtype=np.uint8)
            arrays[f"{part}_labels"] = np.arange(count) % 3
        made = Tiny(card, tmp_path / "data", arrays)
        made.write(**layout)
        return made

    return make


@pytest.fixture
def tiny(make_tiny: Callable[..., Tiny]) -> Tiny:
    """The grey set."""
    return make_tiny()
