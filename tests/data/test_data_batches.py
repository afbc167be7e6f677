"""Batches: each index once, repeatable, shared between ranks without loss, and understood by Lightning."""

import numpy as np
import pytest
import torch

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.data import Batches


def made(**options):
    """37 images that hold their own index; labels are the index plus 100."""
    images = np.arange(37, dtype=np.uint8).reshape(37, 1, 1, 1) + np.zeros((1, 3, 2, 2), np.uint8)
    options = {"batch": 8, "seed": 5, **options}
    return Batches(images, np.arange(37) + 100, **options)


def labels_of(batches, epoch=0):
    batches.set_epoch(epoch)
    return [labels.tolist() for _, labels in batches]


@pytest.mark.parametrize(("last", "sizes"), [("keep", [8, 8, 8, 8, 5]), ("drop", [8, 8, 8, 8])])
def test_shapes_and_pairs(last, sizes):
    batches = made(last=last)
    found = list(batches)
    assert len(batches) == len(found) and [len(labels) for _, labels in found] == sizes
    for images, labels in found:
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64 and images.shape[1:] == (3, 2, 2)
        assert torch.equal(images[:, 2, 1, 1].long() + 100, labels)


@pytest.mark.parametrize("shuffle", ["epoch", "none"])
@pytest.mark.parametrize("indices", [None, np.array([30, 2, 4, 9, 11, 36, 0, 1, 20])])
def test_every_index_exactly_once(shuffle, indices):
    expected = (np.arange(37) if indices is None else indices) + 100
    flat = [label for batch in labels_of(made(shuffle=shuffle, indices=indices, batch=4), epoch=3) for label in batch]
    assert sorted(flat) == sorted(expected) and (flat == expected.tolist()) == (shuffle == "none")


def test_a_resumed_run_sees_the_same_batches():
    running = made()
    epochs = [labels_of(running, epoch) for epoch in range(4)]
    assert labels_of(made(), 3) == epochs[3] and labels_of(running, 1) == epochs[1]
    assert len({str(epoch) for epoch in epochs}) == 4 and labels_of(made(seed=6), 3) != epochs[3]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("last", ["keep", "drop"])
def test_ranks_together_are_the_single_process_batch(world, last):
    single = labels_of(made(last=last), 2)
    ranks = [labels_of(made(last=last, rank=rank, world=world), 2) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(single)}
    for i, whole in enumerate(single):
        for rank in range(world):
            assert ranks[rank][i] == whole[rank::world]


def test_from_a_memory_map(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2))
    images = np.load(tmp_path / "a.npy", mmap_mode="r")
    (batch,) = Batches(images, np.zeros(10), batch=10, shuffle="none")
    assert batch[0].numpy().tolist() == images.tolist() and batch[1].dtype == torch.int64
    batch[0].zero_()  # a copy, not the file
    assert images.max() == 39


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shuffle": "always"}, ParameterError, "Batches shuffle: got 'always'; must be one of 'epoch', 'none'"),
        ({"last": "pad"}, ParameterError, "Batches last: got 'pad'; must be one of 'keep', 'drop'"),
        ({"rank": 2, "world": 2}, ParameterError, "Batches rank: got 2; must be from 0 to world - 1 = 1"),
        ({"batch": 0}, ParameterError, "Batches batch: got 0; must be at least 1"),
        ({"batch": 2, "world": 3}, ParameterError, "Batches batch: got 2; must be at least 1 and at least the 3 ranks"),
        ({"batch": 38, "last": "drop"}, ParameterError, "Batches batch: got 38; must be at most the 37 images"),
        ({"indices": np.array([], int)}, ParameterError, "Batches batch: got 8; must be at most the 0 images"),
        ({"indices": np.array([3, 37])}, ShapeError, r"Batches indices: got \[3, 37\]; must be from 0 to 36"),
        ({"indices": np.array([-1, 3])}, ShapeError, r"Batches indices: got \[-1, 3\]; must be from 0 to 36"),
    ],
)
def test_refusals(options, error, message):
    with pytest.raises(error, match=message):
        made(**options)


def test_labels_must_match_images():
    with pytest.raises(ShapeError, match="Batches labels: got 9; must be one for each of the 10 images"):
        Batches(np.zeros((10, 1, 2, 2), np.uint8), np.zeros(9, np.int64), batch=2)


@pytest.mark.filterwarnings("ignore")  # Lightning's and its dependencies' own
def test_lightning_sets_the_epoch_and_resumes(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Seen(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(12, 1), {}

        def training_step(self, batch, index):
            images, labels = batch
            self.seen.setdefault(self.current_epoch, []).append(labels.tolist())
            return self.layer(images.flatten(1).float()).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    def trainer(epochs):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        return lightning.Trainer(max_epochs=epochs, accelerator="cpu", **quiet)

    first, resumed = Seen(), Seen()
    fit = trainer(2)
    fit.fit(first, made())
    fit.save_checkpoint(tmp_path / "two.ckpt")
    trainer(4).fit(resumed, made(), ckpt_path=tmp_path / "two.ckpt")
    assert first.seen | resumed.seen == {epoch: labels_of(made(), epoch) for epoch in range(4)}
    assert sorted(resumed.seen) == [2, 3]
