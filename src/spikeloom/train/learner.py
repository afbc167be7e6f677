"""The Lightning shell of a run: no arithmetic of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from spikeloom.core.errors import SpikeloomError
from spikeloom.core.params import Choice
from spikeloom.data import Augment, counts, normalise
from spikeloom.nn import losses
from spikeloom.nn.snn import SNN
from spikeloom.train import schedule
from spikeloom.train.run import Run


class Learner(lightning.LightningModule):
    """Trains `snn` as `run` says. Batches are uint8 images `[B, C, H, W]`, or frames `[B, T, C, H, W]`, and labels `[B]`.

    `history` holds one row per finished epoch and travels with the checkpoint, so that a resumed run has the whole curve.
    """

    def __init__(self, run: Run, snn: SNN, mean: tuple[float, ...], std: tuple[float, ...], classes: int) -> None:
        super().__init__()
        self.keep: Callable[[Learner], None] | None = None
        self.run, self.snn, self.mean, self.std = run, snn, mean, std
        if Choice(("channels_last", "contiguous")).check("training.layout", run.training.layout) == "channels_last":
            self.snn.to(memory_format=torch.channels_last)
        self.loss = losses.build(run.training.loss)
        self.augment = Augment(run.data.augment, run.training.seed)
        self.history: list[dict[str, Any]] = []
        self.meters = nn.ModuleDict()
        for name in ("train", "val", "test"):
            self.meters[f"{name}_loss"] = MeanMetric()
            self.meters[f"{name}_accuracy"] = MulticlassAccuracy(classes, average="micro")
        self._started = 0.0

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 images as the encoder wants them, in [0, 1] or standardised; event counts as they are."""
        if images.dim() == 5:
            return counts(images).to(next(self.snn.parameters()).dtype)
        raw = self.snn.encoder is not None and self.snn.encoder.domain == "raw"
        scaled = normalise(images) if raw else normalise(images, self.mean, self.std)
        return scaled.to(next(self.snn.parameters()).dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Output of every step `[T, B, classes]` for uint8 images `[B, C, H, W]`, in float32."""
        return self.snn(self.prepare(images)).float()

    def configure_optimizers(self) -> Any:
        training = self.run.training
        optimiser = schedule.optimiser(training, self.parameters())
        per_epoch = max(int(self.trainer.estimated_stepping_batches) // training.epochs, 1)
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule.factor(training, step, per_epoch))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        # randomness is a function of seed, epoch and rank, so that a resumed epoch repeats the interrupted one
        torch.manual_seed((self.run.training.seed * 1_000_003 + self.current_epoch) * 64 + self.global_rank)
        self._started = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        images = self.augment(images, self.current_epoch, index)
        outputs = self(images)
        loss = self.loss(outputs, labels)
        if not torch.isfinite(loss):
            where = f"at epoch {self.current_epoch}, batch {index}"
            raise SpikeloomError(f"training: the loss is {loss.item()} {where}; {self._culprit(images)}")
        self._measure("train", loss, outputs, labels)
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    def on_validation_epoch_start(self) -> None:
        # stochastic encoders draw the same numbers at every evaluation
        torch.manual_seed(self.run.training.seed)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int, dataloader_idx: int = 0) -> None:
        outputs = self(batch[0])
        self._measure(("val", "test")[dataloader_idx], self.loss(outputs, batch[1]), outputs, batch[1])

    def on_train_epoch_end(self) -> None:
        broken = self._broken_weights()
        if broken:  # a neuron whose membrane is NaN is silent, so the loss may not tell
            raise SpikeloomError(f"training: at the end of epoch {self.current_epoch}; {broken}")
        row: dict[str, Any] = {"epoch": self.current_epoch}
        for name, meter in self.meters.items():
            row[name] = round(float(meter.compute()), 6)
            meter.reset()
        row["lr"] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        row["seconds"] = time.perf_counter() - self._started
        self.history.append(row)
        if self.keep is not None and self.trainer.is_global_zero:
            self.keep(self)
        self.log_dict({k: v for k, v in row.items() if k != "epoch"}, sync_dist=False, rank_zero_only=True)
        left = row["seconds"] * (self.run.training.epochs - self.current_epoch - 1) / 60
        self.log_dict({"val": row["val_accuracy"], "minutes_left": left}, prog_bar=True, logger=False, rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def _measure(self, split: str, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        self.meters[f"{split}_loss"].update(loss.detach(), len(labels))
        self.meters[f"{split}_accuracy"].update(outputs.detach().mean(0).argmax(1), labels)

    def _culprit(self, images: Tensor) -> str:
        """Names the first layer whose weights or output are not finite."""
        broken = self._broken_weights()
        if broken:
            return broken
        found: list[str] = []

        def watch(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                if not found and not torch.isfinite(output).all():
                    found.append(name)

            return hook

        handles = [m.register_forward_hook(watch(n)) for n, m in self.snn.net.named_modules() if not list(m.children())]
        with torch.no_grad():
            self(images)
        for handle in handles:
            handle.remove()
        return f"first in the output of layer {found[0]!r}" if found else "every layer's output is finite: the loss itself overflows"

    def _broken_weights(self) -> str:
        for name, parameter in self.snn.net.named_parameters():
            if not torch.isfinite(parameter).all():
                return f"the weights of layer {name.rpartition('.')[0]!r} are not finite; lower the learning rate or clip the gradient"
        return ""
