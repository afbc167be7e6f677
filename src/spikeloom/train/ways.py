"""How the layers of a run's network work on its own images: by events or dense, at which density."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from spikeloom import data
from spikeloom.io import weights
from spikeloom.train.run import Run, build


def ways(run: Run, images: int, folder: Path | None = None, data_dir: str | None = None) -> list[tuple[Any, ...]]:
    """Layer, output, weights' gradient and what else `SNN.ways` says, after one pass over the first training images.

    folder: of a trained run, whose weights are taken; None: fresh ones.
    """
    from spikeloom.train.fit import WEIGHTS
    from spikeloom.train.learner import Learner

    given, snn = data.load(run.data.name, data_dir, run.data.frames, run.steps), build(run)
    if folder is not None:
        weights.load(snn.net, folder / WEIGHTS)
    learner = Learner(run, snn, given.mean, given.std, len(given.classes)).train()
    learner(torch.from_numpy(given.train_images[:images].copy()))
    return [(name, *way) for name, way in snn.ways().items()]
