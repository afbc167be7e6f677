"""A run on recordings of an event camera is a run like any other. The recordings are made by hand: a bar that moves left or right."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from spikeloom import data, deploy, infer, recipes
from spikeloom.core.errors import DataError, RecordError
from spikeloom.data.events import Events
from spikeloom.train import record
from spikeloom.train.evaluate import evaluate
from spikeloom.train.fit import fit
from spikeloom.train.ways import ways

TINY = {"epochs": 2, "steps": 4, "channels": (4, 6), "classes": 2, "batch": 8, "augment": ("crop:1",)}


def moving(path):
    """Label 0: a column of ON events that goes right, 100 us a pixel; 1: one of OFF events that goes left."""
    k = int(path.stem)
    label, t = k % 2, np.repeat(np.arange(20), 6)
    x = 5 + t if label == 0 else 25 - t
    return [(Events(100 * t, x, np.tile(np.arange(6), 20) + k % 20, np.full(120, 1 - label)), label)]


@pytest.fixture
def bars(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "events" / "bars"
    folder.mkdir(parents=True)
    names = {"train": range(40), "test": range(40, 52)}
    for k in range(52):
        (folder / str(k)).touch()
    layout = data.Recordings("events/bars", 2000, "draw them", lambda below, part: [below / str(k) for k in names[part]], moving)
    old = data.known["nmnist_1k"]
    card = dataclasses.replace(old, key="bars", classes=("right", "left"), train=40, test=12, validation=8, recordings=layout)
    monkeypatch.setitem(data.known, "bars", card)
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data"))
    run = recipes.load("nmnist-1k", TINY)
    return dataclasses.replace(run, data=dataclasses.replace(run.data, name="bars"))


def test_it_trains_evaluates_and_resumes(bars, tmp_path):
    found = fit(bars, tmp_path / "run", overrides=TINY)
    assert record.read(tmp_path / "run") == record.plain(found)
    assert found["frames"] == "time" and found["augment"] == ["crop:1"] and len(found["accuracy_by_step"]) == 4
    assert found["data"] | {"fingerprint": ""} == {
        "name": "bars", "train": 32, "validation": 8, "test": 12, "classes": ["right", "left"], "fingerprint": "",
    }  # fmt: skip
    assert found["accuracy"]["test"] == pytest.approx(found["accuracy"]["validated"], abs=1e-6)
    assert [row["name"] for row in found["operations"]] == ["conv1", "conv2", "fc"]
    assert all(row["analog_macs"] == 0 for row in found["operations"])
    again = evaluate(bars, tmp_path / "run" / "weights.safetensors")
    for key in ("accuracy_by_step", "layers", "operations"):
        assert again[key] == found[key]
    assert fit(bars, tmp_path / "run", resume="allowed", overrides=TINY)["accuracy"] == found["accuracy"]
    other = dataclasses.replace(bars, data=dataclasses.replace(bars.data, frames="count"))
    with pytest.raises(RecordError, match=r"another run \(frames differ\)"):
        fit(other, tmp_path / "run", resume="allowed", overrides=TINY)


def test_it_is_compiled_run_and_explained(bars, tmp_path):
    out = tmp_path / "run"
    found = fit(bars, out, overrides=TINY)
    runner = deploy.compiled(str(out), set_name="bars", precision="int8", calibration=16)
    assert runner.loss is not None and runner.loss["images"] == 16
    runner = deploy.compiled(str(out), set_name="bars")
    runner.save(tmp_path / "net.safetensors")
    again = deploy.measured(infer.load(tmp_path / "net.safetensors"), "bars", batch=5)
    assert again["accuracy"] == pytest.approx(found["accuracy_by_step"], abs=1e-9) and again["images"] == 12
    assert [row[0] for row in ways(bars, 4, out)] == ["conv1", "conv2", "fc"]


def test_a_sample_shows_the_summed_events(bars, tmp_path):
    found = fit(bars, tmp_path / "run", overrides=TINY)
    for sample, hidden in zip(found["samples"], (2, 0, 2), strict=True):  # blue is dark for ON, red for OFF: labels 0, 1, 0
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sample["image"].partition(",")[2]))))
        assert image.shape == (34, 34, 3) and image.max() == 255 and not image[:, :, hidden].any()
        assert (image.max(2) > 0).sum() == 120


def test_frames_need_recordings(tmp_path):
    run = recipes.load("stbp-digits", {"frames": "time", "encoder": "none"})
    with pytest.raises(DataError, match="digits frames: got 'time'; must be 'none'"):
        fit(run, tmp_path / "run")
