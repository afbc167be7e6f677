"""N-MNIST, the first 1,000 training and the first 100 test recordings: MNIST digits before a moving event camera, 34 x 34, three saccades.

A subset: results on it are not comparable with published N-MNIST accuracies. The folder may hold the whole archive; the first are read.
"""

from pathlib import Path

from spikeloom.core.errors import DataError
from spikeloom.core.paper import Paper
from spikeloom.data import atis
from spikeloom.data.events import Events
from spikeloom.data.sets.base import Card, Recordings

TRAIN, TEST = 1000, 100
ADVICE = "put the folders Train and Test of N-MNIST (https://www.garrickorchard.com/datasets/n-mnist) into DIR/events/nmnist_1k"


def files(folder: Path, part: str) -> list[Path]:
    """{Train,Test}/LABEL/INDEX.bin in the order of MNIST, whose index counts from 1."""
    below, count = folder / part.capitalize(), {"train": TRAIN, "test": TEST}[part]
    found = {int(path.stem): path for path in below.glob("[0-9]/[0-9]*.bin")}
    missing = [index for index in range(1, count + 1) if index not in found]
    if missing:
        raise DataError(f"{below}: {len(missing)} of {count} recordings are missing, the first is LABEL/{missing[0]:05}.bin; {ADVICE}")
    return [found[index] for index in range(1, count + 1)]


def read(path: Path) -> list[tuple[Events, int]]:
    """The one recording of a file, and the label that its folder names."""
    return [(atis.read(path), int(path.parent.name))]


card = Card(
    key="nmnist_1k",
    title="N-MNIST, first 1,000 and 100 recordings",
    classes=tuple("0123456789"),
    channels=2,
    side=34,
    train=TRAIN,
    test=TEST,
    validation=100,
    mean=(),
    std=(),
    licence="CC BY-SA 4.0",
    paper=Paper(
        "orchard2015nmnist", "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades",
        "Orchard, Garrick and Jayawant, Ajinkya and Cohen, Gregory K. and Thakor, Nitish",
        "Frontiers in Neuroscience 9:437", 2015, "https://doi.org/10.3389/fnins.2015.00437",
    ),
    recordings=Recordings("events/nmnist_1k", span=310_000, advice=ADVICE, files=files, read=read),
)  # fmt: skip
