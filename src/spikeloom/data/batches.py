"""Batches whose order is a pure function of (seed, epoch), whole or shared between ranks."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.data.order import permutation


class Batches:
    """An iterable of (images uint8 `[B, C, H, W]`, labels int64 `[B]`), with a length; Lightning takes it as a dataloader.

    images: `[N, ...]`, labels: `[N]`; indices: which of them to use, all when None. batch: images per step over all ranks.
    shuffle="epoch" draws a new order for every `set_epoch`; "none" keeps that of `indices`. last="keep" yields a smaller last
    batch, "drop" leaves it out. Rank r of `world` gets rows r, r + world, ... of each batch: together exactly the batch of one process.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray | None = None, *, batch: int,
        shuffle: str = "epoch", seed: int = 0, last: str = "keep", rank: int = 0, world: int = 1,
    ) -> None:
        self.images, self.labels = np.asarray(images), np.asarray(labels, dtype=np.int64)
        self.indices = np.arange(len(self.images)) if indices is None else np.asarray(indices, dtype=np.int64)
        self.batch, self.shuffle, self.seed, self.last, self.rank, self.world = batch, shuffle, seed, last, rank, world
        self.epoch = 0
        self._check()

    def _check(self) -> None:
        count, available = len(self.indices), len(self.images)
        if len(self.labels) != available:
            raise ShapeError(refusal("Batches labels", len(self.labels), f"one for each of the {available} images"))
        if count and (self.indices.min() < 0 or self.indices.max() >= available):
            raise ShapeError(refusal("Batches indices", [int(self.indices.min()), int(self.indices.max())], f"from 0 to {available - 1}"))
        for name, value, allowed in (("shuffle", self.shuffle, ("epoch", "none")), ("last", self.last, ("keep", "drop"))):
            if value not in allowed:
                raise ParameterError(refusal(f"Batches {name}", value, "one of " + ", ".join(map(repr, allowed))))
        if not 0 <= self.rank < self.world:
            raise ParameterError(refusal("Batches rank", self.rank, f"from 0 to world - 1 = {self.world - 1}"))
        if self.batch < self.world:
            raise ParameterError(refusal("Batches batch", self.batch, f"at least 1 and at least the {self.world} ranks"))
        if not len(self):
            raise ParameterError(refusal("Batches batch", self.batch, f"at most the {count} images", "or keep the last batch"))

    # Lightning reads both attributes to find whose epoch to set
    batch_sampler = None

    @property
    def sampler(self) -> "Batches":
        """Itself: Lightning calls `dataloader.sampler.set_epoch(epoch)` at the start of every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.indices), self.batch)
        return whole + (rest > 0 and self.last == "keep")

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.indices
        if self.shuffle == "epoch":
            order = order[permutation(len(order), self.seed, self.epoch)]
        for start in range(0, len(self) * self.batch, self.batch):
            rows = order[start : start + self.batch][self.rank :: self.world]
            yield torch.from_numpy(self.images[rows]), torch.from_numpy(self.labels[rows])
