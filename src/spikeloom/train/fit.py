"""Trains a run in a folder: weights, checkpoint and record. Killed at any moment, it resumes to bit-identical weights."""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeloom import data
from spikeloom.core.errors import RecipeError
from spikeloom.core.params import Choice
from spikeloom.io import weights, zoo
from spikeloom.nn.activations.qcfs import fit_scales
from spikeloom.train import record
from spikeloom.train.keeper import WEIGHTS, Keeper
from spikeloom.train.run import Run, Training, build

LAST, CHECKPOINT = "weights-last.safetensors", "checkpoint.safetensors"
FITTED = 256  # training images to which scales that begin fitted are fitted
SAME = ("recipe", "steps", "encoder", "network", "training", "augment", "frames", "start")  # what makes two runs the same


def fit(
    run: Run, out: Path, data_dir: str | None = None, resume: str = "never", overrides: dict[str, Any] | None = None,
    start: Path | str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train `run` into the folder `out` and return its record.

    resume: `"never"` refuses a folder that holds a run, `"allowed"` goes on where it stopped (or starts).
    start: weights to begin with instead of fresh ones: a file, a run folder, or a name of the zoo. Parameters that they do not have (a
    neuron's or an activation's own) begin fresh; the record's `fresh` names them.
    Writes `weights.safetensors` (the epoch picked on validation), `weights-last.safetensors`, `record.json` (after every
    epoch, complete at the end) and `checkpoint.safetensors`.
    Raises RecordError when `out` holds a run and resume is `"never"`, or holds another run.
    """
    import lightning

    from spikeloom.train.evaluate import measured
    from spikeloom.train.learner import Learner

    begin = None if start is None else weights_file(start)
    head = record.describe(run, overrides or {}) | {"start": None if begin is None else _origin(start, begin)}
    record.claim(out, head, resume, SAME, CHECKPOINT)
    images = data.load(run.data.name, data_dir, run.data.frames, run.steps)
    lightning.seed_everything(run.training.seed, verbose=False)
    snn = build(run)
    if begin is not None:
        head["fresh"] = weights.load(snn.net, begin, missing="kept")
    head["params"] = sum(p.numel() for p in snn.parameters())
    learner = Learner(run, snn, images.mean, images.std, len(images.classes))
    untrained = begin is None or head["fresh"]  # scales that weights bring stay
    if untrained and not (out / CHECKPOINT).exists() and any(getattr(module, "begins", "") == "fitted" for module in snn.modules()):
        fit_scales(snn, learner.prepare(torch.from_numpy(np.array(images.train_images[:FITTED]))))
    learner.keep = keeper = Keeper(out, head)
    trainer = _trainer(run.training, out)
    train, *held_out = _batches(run, images, trainer.global_rank, run.training.devices)
    checkpoint = out / CHECKPOINT
    trainer.fit(learner, train, held_out, ckpt_path=str(checkpoint) if checkpoint.exists() else None)
    if trainer.global_rank:
        return {}
    weights.save(learner.snn.net, out / LAST)
    weights.load(learner.snn.net, out / WEIGHTS)
    final = keeper.record(learner.history) | measured(run, learner, images)
    final["accuracy"]["test"] = final.pop("test_accuracy")
    record.write(final, out / "record.json")
    return final


def weights_file(start: Path | str) -> Path:
    """The file of weights that is meant by a file, a run folder, or a name of the zoo."""
    path = Path(start)
    if path.is_dir():
        return path / WEIGHTS
    return path if path.suffix else zoo.find(str(start))[1]


def _origin(start: Path | str, file: Path) -> dict[str, Any]:
    """What the record says of the weights in `file`: enough to know them by, and nothing of the machine."""
    named = "/".join(file.absolute().parts[-2:])
    return {"weights": named, "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""}


def _trainer(training: Training, out: Path) -> Any:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    from spikeloom.train.checkpoint import SafeCheckpointIO

    _quieten()
    stem, suffix = CHECKPOINT.split(".")
    saver = ModelCheckpoint(dirpath=out, filename=stem, save_on_train_epoch_end=True, enable_version_counter=False)
    saver.FILE_EXTENSION = f".{suffix}"
    return lightning.Trainer(
        max_epochs=training.epochs, accelerator=training.accelerator, devices=training.devices,
        strategy="ddp" if training.devices > 1 else "auto", precision=training.precision,  # type: ignore[arg-type]
        gradient_clip_val=training.clip or None, logger=_logger(training.logger, out), callbacks=[saver, *_bars()],
        plugins=[SafeCheckpointIO()], num_sanity_val_steps=0, enable_model_summary=False, enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False, log_every_n_steps=1_000_000, default_root_dir=out,
    )  # fmt: skip


def _batches(run: Run, images: data.ImageSet, rank: int, world: int) -> list[data.Batches]:
    """Training, validation and test batches of one process of `world`."""
    train, validation = data.split(images.train_labels, run.data.validation or images.validation)
    batch, share = run.training.batch, {"rank": rank, "world": world}
    first = data.Batches(images.train_images, images.train_labels, train, batch=batch, seed=run.training.seed, last="drop", **share)
    held_out = ((images.train_images, images.train_labels, validation), (images.test_images, images.test_labels, None))
    return [first, *(data.Batches(*arrays, batch=2 * batch, shuffle="none", **share) for arrays in held_out)]


def _logger(kind: str, out: Path) -> Any:
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    if Choice(("csv", "tensorboard", "none")).check("training.logger", kind) == "none":
        return False
    if kind == "csv":
        return CSVLogger(out, name="log")
    try:
        return TensorBoardLogger(out, name="log")
    except ModuleNotFoundError:
        raise RecipeError("training.logger: got 'tensorboard', which is not installed; run `pip install tensorboard`") from None


def _quieten() -> None:
    """Lightning's notices about choices that are made here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    known = ("Checkpoint directory .* exists", "smaller than the logging interval", "LeafSpec", "does not have many workers", "sync_dist")
    for text in (f".*{words}" for words in known):
        warnings.filterwarnings("ignore", text)


def _bars() -> list[Any]:
    from lightning.pytorch.callbacks import RichProgressBar

    return [RichProgressBar(leave=True)] if sys.stderr.isatty() else []
