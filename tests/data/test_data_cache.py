"""The cache: used when whole, rebuilt when damaged, safe with several processes, plain when it cannot be written."""

import os
import subprocess
import sys

import numpy as np
import pytest

from spikeloom import data
from spikeloom.core.errors import DataError
from spikeloom.data import cache, parquet


@pytest.fixture
def decoded(monkeypatch):
    """How often a part was decoded."""
    calls = []
    real = parquet.decode
    monkeypatch.setattr(parquet, "decode", lambda source, part, advance: calls.append(part) or real(source, part, advance))
    return calls


def test_decoded_once_and_nothing_left_behind(tiny, decoded):
    data.load("tiny", tiny.root)
    data.load("tiny", tiny.root)
    assert decoded == ["train", "test"]
    (folder,) = cache.root().iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy",
    ]


def test_the_cache_follows_the_files_not_their_folder(tiny, decoded, tmp_path):
    first = data.load("tiny", tiny.root)
    os.rename(tiny.root, tmp_path / "moved")
    assert data.load("tiny", tmp_path / "moved").fingerprint == first.fingerprint and len(decoded) == 2
    tiny.arrays["test_images"][3] = 0
    tiny.write()
    second = data.load("tiny", tiny.root)
    assert second.fingerprint != first.fingerprint
    np.testing.assert_array_equal(second.test_images, tiny.arrays["test_images"])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_a_bit(folder / "train_images.npy"),
        lambda folder: (folder / "train_images.npy").write_bytes((folder / "train_images.npy").read_bytes()[:-10]),
        lambda folder: (folder / "train_labels.npy").write_bytes(b""),
        lambda folder: (folder / "test_labels.npy").unlink(),
        lambda folder: np.save(folder / "test_labels.npy", np.zeros(6, np.int32)),
        lambda folder: np.save(folder / "test_labels.npy", np.zeros(7, np.int64)),
        lambda folder: np.save(folder / "more.npy", np.zeros(7)),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[1]"),
    ],
    ids=["bit", "truncated", "empty", "missing", "dtype", "shape", "foreign", "no manifest", "half a manifest", "other manifest"],
)
def test_a_damaged_cache_is_built_again(tiny, decoded, damage):
    data.load("tiny", tiny.root)
    (folder,) = cache.root().iterdir()
    damage(folder)
    loaded = data.load("tiny", tiny.root)
    for name, expected in tiny.arrays.items():
        np.testing.assert_array_equal(getattr(loaded, name), expected)
    assert decoded == ["train", "test"] * 2
    data.load("tiny", tiny.root)
    assert len(decoded) == 4 and list(cache.root().iterdir()) == [folder]


def test_a_failed_build_leaves_nothing(tiny):
    encoded, labels = tiny.rows("test", slice(None))
    tiny.put("test-00000-of-00001", [*encoded[:5], b"broken"], labels)
    with pytest.raises(DataError, match="row 5 cannot be decoded"):
        data.load("tiny", tiny.root)
    assert list(cache.root().iterdir()) == []


def test_the_loser_of_a_race_takes_the_winners(tiny, monkeypatch):
    def build_while_another_finishes(folder):
        cache.cached("same", lambda other: np.save(other / "a.npy", np.arange(3)))
        np.save(folder / "a.npy", np.arange(4))

    np.testing.assert_array_equal(cache.cached("same", build_while_another_finishes)["a"], np.arange(3))
    assert [path.name for path in cache.root().iterdir()] == ["same"]


RACE = """
import sys, time
import numpy as np
from spikeloom.data import cache
def build(folder):
    print("building", flush=True)
    sys.stdin.readline()
    np.save(folder / "a.npy", np.full(100_000, int(sys.argv[1])))
print(set(cache.cached("race", build)["a"].tolist()))
"""


@pytest.mark.parametrize("damaged", ["no", "yes"])
def test_processes_that_build_at_once(tiny, damaged):
    if damaged == "yes":
        cache.cached("race", lambda folder: np.save(folder / "a.npy", np.zeros(5)))
        (cache.root() / "race" / "manifest.json").write_text("")
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", RACE, str(i)], **options) for i in range(2)]
    for process in processes:
        assert process.stdout.readline() == "building\n"  # all of them are inside build before any may finish
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(results) == 1 and results <= {"{0}", "{1}"}
    assert [path.name for path in cache.root().iterdir()] == ["race"]


def test_a_cache_that_cannot_be_written(tiny, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file/data: cannot be written \(.*\); free some space, or set SPIKELOOM_CACHE"):
        data.load("tiny", tiny.root)


def test_a_full_disk(tiny):
    def build(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"cannot be written \(.*No space left on device\); free some space"):
        cache.cached("full", build)
    assert list(cache.root().iterdir()) == []


def test_a_disk_that_returns_other_bytes(tiny, monkeypatch):
    monkeypatch.setattr(cache, "_open", lambda folder: None)
    with pytest.raises(DataError, match="cannot be read back as it was written; check the disk, or set SPIKELOOM_CACHE"):
        cache.cached("bad", lambda folder: np.save(folder / "a.npy", np.zeros(3)))


def test_the_default_place(monkeypatch, tmp_path):
    monkeypatch.delenv("SPIKELOOM_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.root() == tmp_path / ".cache" / "spikeloom" / "data"
