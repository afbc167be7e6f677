"""Loading from a folder, the environment and the hub; the real sets against their published checksums; every refusal."""

import dataclasses
import hashlib
import struct
import subprocess
import sys

import numpy as np
import pytest

from spikeloom import data
from spikeloom.core.errors import DataError

CARDS = list(data.known.values())


def assert_holds(loaded, arrays):
    for name, expected in arrays.items():
        found = getattr(loaded, name)
        assert isinstance(found, np.memmap) and not found.flags.writeable
        assert found.dtype == (np.uint8 if name.endswith("images") else np.int64)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.key)
def test_card(card):
    assert len(set(card.classes)) == len(card.classes)
    assert len(card.mean) == len(card.std) == (0 if card.recordings else card.channels)
    assert card.validation * 10 <= card.train * 2
    assert sum(map(bool, (card.hub, card.bundled_in and card.read, card.recordings))) == 1
    assert card.licence and card.paper.url in card.paper.bibtex()
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.key = "other"


def test_import_is_light():
    code = "import sys, spikeloom.data; print([m for m in ('pyarrow', 'PIL', 'sklearn', 'huggingface_hub', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("channels", "layout"),
    [
        (1, {}),
        (3, {"kind": "WEBP"}),
        (3, {"column": "img", "folder": "tiny/plain_text"}),
    ],
    ids=["grey png", "rgb lossless webp", "as the hub lays CIFAR-10 out"],
)
def test_load_gives_back_what_was_written(make_tiny, channels, layout):
    tiny = make_tiny(channels, **layout)
    loaded = data.load("tiny", tiny.root)
    assert_holds(loaded, tiny.arrays)
    assert (loaded.name, loaded.classes, loaded.validation, loaded.mean) == ("tiny", ("a", "b", "c"), 3, (0.5,) * channels)


def test_the_environment_names_the_folder_and_the_argument_wins(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKELOOM_DATA", str(tiny.root))
    assert_holds(data.load("tiny"), tiny.arrays)
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "elsewhere"))
    assert_holds(data.load("tiny", tiny.root), tiny.arrays)


def test_the_hub_is_asked_by_name(tiny, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot_download(*args, **options):
        asked.append((args, options))
        return str(tiny.root / "tiny")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert_holds(data.load("tiny"), tiny.arrays)
    assert asked == [(("nobody/tiny",), {"repo_type": "dataset", "allow_patterns": ["*train-*.parquet", "*test-*.parquet"]})]


def test_offline_says_how_to_go_on(tiny, monkeypatch):
    import huggingface_hub

    def snapshot_download(*args, **options):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    pattern = r"no data folder given.*nobody/tiny.*\(ConnectionError: no route to host\).*hf download nobody/tiny --repo-type dataset"
    with pytest.raises(DataError, match=pattern + r".*--data-dir DIR or set SPIKELOOM_DATA=DIR"):
        data.load("tiny")


def test_digits_are_scikit_learns(tiny):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    loaded = data.load("digits")
    assert loaded.train_images.shape == (1437, 1, 8, 8) and loaded.test_images.shape == (360, 1, 8, 8)
    together = np.concatenate([loaded.train_images, loaded.test_images])[:, 0]
    labels = np.concatenate([loaded.train_labels, loaded.test_labels])
    assert {0, 128, 255} <= set(np.unique(together)) and len(np.unique(together)) == 17  # 0, 8 and 16 of 0..16
    counts = np.rint(together / 255 * 16)
    rows = sorted((int(label), *image.ravel()) for label, image in zip(labels, counts, strict=True))
    assert rows == sorted((int(label), *image.ravel()) for label, image in zip(bunch.target, bunch.images, strict=True))
    share = np.bincount(bunch.target) * 360 / 1797
    assert (abs(np.bincount(loaded.test_labels) - share) < 1).all()


@pytest.mark.parametrize("key", ["mnist", "fashion_mnist", "cifar10", "digits"])
def test_mean_and_std_are_those_of_the_training_images(key, data_dir):
    loaded = data.load(key, data_dir)
    images, level = loaded.train_images, np.arange(256) / 255
    share = np.stack([np.bincount(images[:, c].ravel(), minlength=256) for c in range(images.shape[1])]) / images[:, 0].size
    mean = share @ level
    std = (share @ level**2 - mean**2) ** 0.5
    if key == "cifar10":  # the customary values are means over images of each image's (unbiased) deviation
        std = images.std((2, 3), ddof=1, dtype=np.float32).mean(0) / 255
    np.testing.assert_allclose(mean, loaded.mean, rtol=0, atol=5e-5)  # they are given to four digits
    np.testing.assert_allclose(std, loaded.std, rtol=0, atol=5e-5)


OFFICIAL = {  # MD5 of the uncompressed IDX files: images, labels
    ("mnist", "train"): ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    ("mnist", "test"): ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ("fashion_mnist", "train"): ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
    ("fashion_mnist", "test"): ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
}


@pytest.mark.parametrize(("key", "part"), OFFICIAL)
def test_official_files(key, part, data_dir):
    loaded = data.load(key, data_dir)
    images, labels = getattr(loaded, f"{part}_images"), getattr(loaded, f"{part}_labels")
    idx = struct.pack(">IIII", 2051, len(images), 28, 28) + images.tobytes()
    idy = struct.pack(">II", 2049, len(labels)) + labels.astype(np.uint8).tobytes()
    assert (hashlib.md5(idx).hexdigest(), hashlib.md5(idy).hexdigest()) == OFFICIAL[key, part]


def test_mnist_histogram(data_dir):
    loaded = data.load("mnist", data_dir)
    assert np.bincount(loaded.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(loaded.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_cifar10(data_dir):
    loaded = data.load("cifar10", data_dir)
    assert loaded.train_images.shape == (50_000, 3, 32, 32) and loaded.test_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(loaded.train_labels).tolist() == [5000] * 10 and np.bincount(loaded.test_labels).tolist() == [1000] * 10


def test_unknown_name():
    with pytest.raises(DataError, match="data set: got 'minst'; did you mean 'mnist'"):
        data.load("minst")


def test_missing_folders_and_files(tiny, monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"nowhere/tiny: no such folder \(data_dir is .*nowhere, which does not exist\); run `hf download"):
        data.load("tiny", tmp_path / "nowhere")
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data" / "tiny"))
    with pytest.raises(DataError, match=r"\(SPIKELOOM_DATA is .*tiny, which holds no folder\); run .* --local-dir .*/tiny/tiny`"):
        data.load("tiny")
    with pytest.raises(DataError, match="which holds cache, data"):
        (tmp_path / "cache").mkdir(exist_ok=True)
        data.load("tiny", tmp_path)
    (tiny.root / "tiny" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"data/tiny: no file test-\*\.parquet in it or below it; run `hf download nobody/tiny"):
        data.load("tiny", tiny.root)


def test_a_missing_shard_is_a_wrong_count(tiny):
    (tiny.root / "tiny" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"tiny train images in train-00000-of-00002\.parquet: got 7; must be 12; .*hf download"):
        data.load("tiny", tiny.root)


@pytest.mark.parametrize("keep", [0, 3, 9, 0.5, -1], ids=["empty", "3 bytes", "9 bytes", "half", "all but one byte"])
def test_truncated_file(tiny, keep):
    path = tiny.root / "tiny" / "train-00001-of-00002.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet: not a whole parquet file .*; delete it and run `hf download"):
        data.load("tiny", tiny.root)


def test_zeroed_pages_in_a_file_with_a_whole_footer(tiny):
    path = tiny.root / "tiny" / "test-00000-of-00001.parquet"
    whole = bytearray(path.read_bytes())
    whole[4:400] = bytes(396)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet: not a whole parquet file"):
        data.load("tiny", tiny.root)


def test_a_file_that_cannot_be_opened(tiny):
    path = tiny.root / "tiny" / "test-00000-of-00001.parquet"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet: cannot be read \(.*\); run `hf download"):
        data.load("tiny", tiny.root)


def test_foreign_columns(tiny):
    tiny.put("test-00000-of-00001", *tiny.rows("test", slice(None)), column="picture")
    with pytest.raises(DataError, match=r"columns: got \{'picture'.*must be image \(or img\), a struct<bytes: binary, \.\.\.>, and label"):
        data.load("tiny", tiny.root)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tiny, good: good[: len(good) // 2], r"image in row 4 cannot be decoded \(\d+ bytes; .*\); delete the file and run"),
        (lambda tiny, good: b"GIF89a", r"image in row 4 cannot be decoded \(6 bytes"),
        (lambda tiny, good: None, r"image in row 4 cannot be decoded \(0 bytes"),
        (lambda tiny, good: tiny.encode(np.zeros((1, 5, 6), np.uint8)), "image in row 4: got '6 x 5 L'; must be 5 x 5 L; run"),
        (lambda tiny, good: tiny.encode(np.zeros((3, 5, 5), np.uint8)), "image in row 4: got '5 x 5 RGB'; must be 5 x 5 L; run"),
    ],
    ids=["truncated", "no image", "null", "wrong size", "wrong mode"],
)
def test_a_bad_image_is_named(tiny, damage, message):
    encoded, labels = tiny.rows("train", slice(7, 12))
    encoded[4] = damage(tiny, encoded[4])
    tiny.put("train-00001-of-00002", encoded, labels)
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet: " + message):
        data.load("tiny", tiny.root)


@pytest.mark.parametrize("label", [3, -1, None, 0.5])
def test_a_bad_label_is_named(tiny, label):
    encoded, labels = tiny.rows("test", slice(None))
    tiny.put("test-00000-of-00001", encoded, [*labels[:5], label])
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet: label: got .*; must be a whole number from 0 to 2"):
        data.load("tiny", tiny.root)


def test_missing_packages(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pyarrow, which reads it, is not installed; run `pip install pyarrow pillow`"):
        data.load("tiny", tiny.root)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="digits: scikit-learn, which carries the images, is not installed"):
        data.load("digits")
    monkeypatch.setitem(data.known, "digits", dataclasses.replace(data.known["digits"], bundled_in="no-such-distribution"))
    with pytest.raises(DataError, match="comes with no-such-distribution, not installed; run `pip install no-such-distribution`"):
        data.load("digits")
