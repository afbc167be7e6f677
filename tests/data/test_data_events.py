"""Recordings: bytes and bins worked by hand, frames that keep every event, the real subset, every refusal."""

import dataclasses

import numpy as np
import pytest
import torch

from spikeloom import data
from spikeloom.core.errors import DataError, ParameterError, ShapeError
from spikeloom.data import Augment, atis, recordings
from spikeloom.data.events import Events, bins, frames, picture
from spikeloom.data.sets import nmnist_1k


def event(x, y, p, t):
    """The five bytes of the format, written by its definition."""
    return bytes([x, y]) + (p << 23 | t).to_bytes(3, "big")


# t = 1, ON; t = 0x012345 = 74565, OFF; t = 0x7FFFFF = 8388607, ON
THREE = bytes.fromhex("03 05 80 00 01   21 00 01 23 45   00 21 FF FF FF")


def recorded(*times, x=0, y=0, p=1):
    t = np.array(times, dtype=np.int64)
    return Events(t, *(np.full_like(t, value) for value in (x, y, p)))


def noise(count, side=34, seed=0):
    rng = np.random.default_rng(seed)
    return Events(np.sort(rng.integers(0, 340_000, count)), *rng.integers(0, side, (2, count)), rng.integers(0, 2, count))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """`nmnist_1k` cut to 12 and 3 recordings of hand-made files, one folder per label; its data folder."""
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)
    monkeypatch.setattr(nmnist_1k, "TRAIN", 12)
    monkeypatch.setattr(nmnist_1k, "TEST", 3)
    card = dataclasses.replace(nmnist_1k.card, train=12, test=3, validation=3)
    monkeypatch.setitem(data.known, "nmnist_1k", card)
    for part, count in (("Train", 12), ("Test", 3)):
        for index in range(1, count + 1):
            file = tmp_path / "data" / "events" / "nmnist_1k" / part / str(index % 3) / f"{index:05}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"".join(event(index, 2 * index, index % 2, 1000 * k) for k in range(index)))
    return tmp_path / "data"


def test_three_events_by_hand(tmp_path):
    path = tmp_path / "three.bin"
    path.write_bytes(THREE)
    assert b"".join([event(3, 5, 1, 1), event(33, 0, 0, 74565), event(0, 33, 1, 8388607)]) == THREE
    found = atis.read(path)
    assert [value.tolist() for value in found] == [[1, 74565, 8388607], [3, 33, 0], [5, 0, 33], [1, 0, 1]]


def test_a_wrapped_clock_is_no_event_and_moves_what_follows(tmp_path):
    path = tmp_path / "wrapped.bin"
    path.write_bytes(event(1, 1, 1, 8000) + event(0, 240, 0, 0) + event(2, 2, 0, 5))
    found = atis.read(path)
    assert [value.tolist() for value in found] == [[8000, 8197], [1, 2], [1, 2], [1, 0]]


def test_files_that_are_not_whole_are_refused(tmp_path):
    path = tmp_path / "bad.bin"
    with pytest.raises(DataError, match=r"bad.bin: cannot be read"):
        atis.read(path)
    for whole, size in ((b"", 0), (THREE[:-1], 14)):
        path.write_bytes(whole)
        with pytest.raises(DataError, match=rf"bad.bin: bytes: got {size}; must be a multiple of 5, and not 0; it is truncated"):
            atis.read(path)
    path.write_bytes(THREE[5:] + THREE[:5])
    with pytest.raises(DataError, match=r"bad.bin: its events are not in order of time"):
        atis.read(path)


def test_bins_by_time_have_equal_widths_and_the_last_takes_what_is_later():
    edges = recorded(0, 9_999, 10_000, 299_999, 300_000, 309_999, 310_000, 336_040)
    assert bins(edges, 31, "time", 310_000).tolist() == [0, 0, 1, 29, 30, 30, 30, 30]
    assert bins(edges, 310, "time", 310_000).tolist() == [0, 9, 10, 299, 300, 309, 309, 309]
    # without a span: width (107 - 100) // 3 = 2 from the first event on
    assert bins(recorded(100, 101, 102, 104, 105, 106, 107), 3, "time").tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert bins(recorded(7, 7, 7), 3, "time").tolist() == [0, 0, 0]


def test_bins_by_count_hold_as_many_events_and_the_last_the_rest():
    assert bins(recorded(*range(11)), 3, "count").tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert bins(recorded(5, 6), 3, "count").tolist() == [0, 1]


@pytest.mark.parametrize("cuts", ["time", "count"])
@pytest.mark.parametrize("span", [0, 310_000])
def test_every_event_is_counted_where_it_was(cuts, span):
    events = noise(5000)
    found = frames(events, 31, cuts, 34, span)
    assert found.shape == (31, 2, 34, 34) and found.dtype == np.uint8
    expected = np.zeros((31, 2, 34, 34), int)
    for bin, x, y, p in zip(bins(events, 31, cuts, span), events.x, events.y, events.p, strict=True):
        expected[bin, p, y, x] += 1
    np.testing.assert_array_equal(found, expected)
    assert found.sum() == 5000


def test_what_has_no_frame_is_refused():
    with pytest.raises(ParameterError, match="frames: got 'number'; must be one of 'time', 'count'"):
        frames(noise(3), 2, "number", 34)
    with pytest.raises(ShapeError, match=r"events x: got \[0, 34\]; must be from 0 to 33"):
        frames(recorded(1, 2)._replace(x=np.array([0, 34])), 2, "time", 34)
    assert frames(recorded(*[0] * 255), 1, "time", 34).max() == 255
    with pytest.raises(DataError, match="events on one pixel in one frame: got 256; must be at most 255; cut into more frames"):
        frames(recorded(*[0] * 256), 1, "time", 34)


def test_a_picture_is_red_where_on_and_blue_where_off():
    counts = np.zeros((3, 2, 2, 2), np.uint8)
    counts[:, 1, 0, 0] = 2  # six ON
    counts[0, 0, 1, 1] = 3  # three OFF
    counts[1, :, 0, 1] = 1  # one of each
    image = picture(counts)
    assert image[:, 0, 0].tolist() == [255, 0, 0] and image[:, 1, 1].tolist() == [0, 0, 128] and image[:, 1, 0].tolist() == [0, 0, 0]
    assert image[:, 0, 1].tolist() == [42, 42, 42]
    assert not picture(np.zeros((3, 2, 2, 2), np.uint8)).any()


def test_a_small_set_loads_in_the_order_of_its_indices(small):
    loaded = data.load("nmnist_1k", small, "count", 4)
    assert isinstance(loaded.train_images, np.memmap) and not loaded.train_images.flags.writeable
    assert loaded.train_images.shape == (12, 4, 2, 34, 34) and loaded.test_images.shape == (3, 4, 2, 34, 34)
    assert loaded.train_labels.tolist() == [1, 2, 0] * 4 and loaded.test_labels.tolist() == [1, 2, 0]
    for index, image in enumerate(loaded.train_images, 1):
        assert image.sum() == image[:, index % 2, 2 * index, index].sum() == index
    assert loaded.train_images[8, :, 1, 18, 9].tolist() == [2, 2, 2, 3]
    by_time = data.load("nmnist_1k", small, "time", 310)
    assert by_time.train_images[8, :10, 1, 18, 9].tolist() == [1] * 9 + [0]
    assert by_time.fingerprint == loaded.fingerprint


def test_the_folder_may_hold_the_whole_archive_and_the_environment_names_it(small, monkeypatch):
    before = data.load("nmnist_1k", small, "time", 2)
    more = small / "events" / "nmnist_1k" / "Train" / "9"
    more.mkdir()
    (more / "00013.bin").write_bytes(event(0, 0, 0, 0))
    monkeypatch.setenv("SPIKELOOM_DATA", str(small))
    after = data.load("nmnist_1k", None, "time", 2)
    np.testing.assert_array_equal(after.train_images, before.train_images)
    assert after.fingerprint == before.fingerprint


def test_what_is_missing_or_damaged_is_named(small, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"nmnist_1k: no data folder given; put the folders .* or set SPIKELOOM_DATA=DIR"):
        data.load("nmnist_1k", None, "time", 2)
    with pytest.raises(DataError, match=r"nmnist_1k: no such folder \(data_dir is .*nowhere, which does not exist\); put the"):
        data.load("nmnist_1k", tmp_path / "nowhere", "time", 2)
    folder = small / "events" / "nmnist_1k"
    with pytest.raises(DataError, match=r"nmnist_1k: recording 0 of train: events x: got \[1, 1\]; must be from 0 to 0"):
        monkeypatch.setitem(data.known, "nmnist_1k", dataclasses.replace(data.known["nmnist_1k"], side=1))
        data.load("nmnist_1k", small, "time", 2)
    monkeypatch.setitem(data.known, "nmnist_1k", dataclasses.replace(data.known["nmnist_1k"], side=34, train=11))
    with pytest.raises(DataError, match=r"nmnist_1k: nmnist_1k train recordings: got 12; must be 11; put the folders"):
        data.load("nmnist_1k", small, "time", 2)
    monkeypatch.setitem(data.known, "nmnist_1k", dataclasses.replace(data.known["nmnist_1k"], train=12, classes=("0", "1")))
    with pytest.raises(DataError, match=r"Train/2/00002.bin: label: got 2; must be from 0 to 1"):
        data.load("nmnist_1k", small, "time", 2)
    (folder / "Test" / "2" / "00002.bin").write_bytes(THREE[:7])
    with pytest.raises(DataError, match=r"Test/2/00002.bin: bytes: got 7"):
        list(recordings.events(data.known["nmnist_1k"], folder, "test"))
    (folder / "Test" / "2" / "00002.bin").unlink()
    with pytest.raises(DataError, match=r"Test: 1 of 3 recordings are missing, the first is LABEL/00002.bin; put the folders"):
        data.load("nmnist_1k", small, "time", 2)


def test_frames_are_for_recordings_and_only_for_them(small):
    with pytest.raises(DataError, match="nmnist_1k frames: got 'none'; must be 'time' or 'count': it has recordings"):
        data.load("nmnist_1k", small)
    with pytest.raises(DataError, match="digits frames: got 'time'; must be 'none': it has images"):
        data.load("digits", small, "time", 2)
    with pytest.raises(DataError, match="nmnist_1k steps: got 0; must be at least 1 frame"):
        data.load("nmnist_1k", small, "time")
    with pytest.raises(ParameterError, match="frames: got 'number'; must be one of 'none', 'time', 'count'"):
        data.load("nmnist_1k", small, "number", 2)


def test_counts_put_time_first_and_change_no_number():
    images = torch.randint(0, 256, (3, 5, 2, 4, 4), dtype=torch.uint8)
    found = data.counts(images)
    assert found.shape == (5, 3, 2, 4, 4) and found.dtype == torch.float32
    assert torch.equal(found[4, 1].to(torch.uint8), images[1, 4])
    with pytest.raises(ShapeError, match=r"counts: got 'torch.uint8 \[5, 2, 4, 4\]'; must be torch.uint8 \[B, T, C, H, W\]"):
        data.counts(images[0])


def test_all_frames_of_a_recording_are_augmented_alike():
    images = torch.randint(0, 256, (8, 1, 2, 34, 34), dtype=torch.uint8).expand(8, 5, 2, 34, 34)
    found = Augment(("crop:2", "flip", "cutout:9"), seed=3)(images, 0, 0)
    assert found.shape == images.shape and not torch.equal(found, images)
    assert all(torch.equal(found[:, t], found[:, 0]) for t in range(5))


@pytest.fixture
def real(data_dir):
    if not (data_dir / "events" / "nmnist_1k").is_dir():
        pytest.skip("no events/nmnist_1k in the data folder")
    return data_dir


def test_the_real_subset(real):
    card = data.known["nmnist_1k"]
    loaded = data.load("nmnist_1k", real, "time", 31)
    assert np.bincount(loaded.train_labels).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    folder = recordings.find(card, real)
    sizes = [path.stat().st_size // 5 for path in card.recordings.files(folder, "train")]
    np.testing.assert_array_equal(loaded.train_images.sum((1, 2, 3, 4), dtype=np.int64), sizes)
    assert round(sum(sizes) / 1000) == 4133
    on = loaded.train_images[:, :, 1].sum((1, 2, 3), dtype=np.int64) / sizes
    assert abs(on.mean() - 0.5) < 5e-4


def test_the_labels_are_those_of_mnist(real):
    if not (real / "mnist").is_dir():
        pytest.skip("no mnist in the data folder")
    mnist, loaded = data.load("mnist", real), data.load("nmnist_1k", real, "time", 31)
    np.testing.assert_array_equal(loaded.train_labels, mnist.train_labels[:1000])
    np.testing.assert_array_equal(loaded.test_labels, mnist.test_labels[:100])
