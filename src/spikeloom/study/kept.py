"""What a measurement has counted so far, kept in its folder, so that one that was killed goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import RecordError
from spikeloom.core.params import Choice
from spikeloom.measure import Tally
from spikeloom.train import record
from spikeloom.train.checkpoint import SafeCheckpointIO

FILE = "measured.safetensors"
EVERY = 10.0  # seconds between two writes
RESUME = Choice(("never", "allowed"))


class Kept:
    """The file of one measurement. asked: all that decides what it counts, as plain data.

    Raises RecordError where the folder holds another measurement or the record of a training, or, with resume `"never"`, any that is
    not finished.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any], resume: str) -> None:
        RESUME.check("resume", resume)
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.asked, self._began = folder / FILE, dict(asked), time.monotonic()
        if (folder / "record.json").exists() and "conversion" not in record.read(folder):
            raise RecordError(f"{folder} holds the record of something else; give another --out")
        self._old = SafeCheckpointIO().load_checkpoint(self.file) if self.file.exists() else None
        if self._old is None:
            return
        if resume == "never":
            done = f"holds a measurement that was stopped after {self._old['count']:,} images"
            raise RecordError(f"{folder} {done}; add --resume to go on with it, or give another --out")
        differing = sorted(key for key in self.asked if self._old["asked"].get(key) != self.asked[key])
        if differing:
            advice = "ask for the same, or give another --out"
            raise RecordError(f"{folder} holds another measurement ({', '.join(differing)} differ); {advice}")

    @property
    def seconds(self) -> float:
        """Since it was made, and those of the parts that were stopped."""
        return time.monotonic() - self._began + (self._old["seconds"] if self._old else 0.0)

    def restore(self, tally: Tally) -> None:
        """Bring the tally, and torch's random numbers, to where the measurement was stopped."""
        if self._old is not None:
            tally.right, tally.early, tally.count = self._old["right"], self._old["early"], self._old["count"]
            torch.set_rng_state(self._old["random"])

    def keeping(self, batches: Iterable[tuple[Tensor, Tensor]], tally: Tally) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches; the file is written as they are counted."""
        last = time.monotonic()
        for batch in batches:
            yield batch
            if time.monotonic() - last >= EVERY:
                self._write(tally)
                last = time.monotonic()

    def finish(self, whole: dict[str, Any]) -> None:
        """Write the record; nothing is left to go on with."""
        record.write(whole, self.file.with_name("record.json"))
        self.file.unlink(missing_ok=True)

    def _write(self, tally: Tally) -> None:
        counted = {"right": tally.right, "early": tally.early, "count": tally.count, "seconds": self.seconds}
        SafeCheckpointIO().save_checkpoint({"asked": self.asked, "random": torch.get_rng_state(), **counted}, self.file)
