"""The STDP experiment on images of two clear classes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spikeloom import data, recipes, report
from spikeloom.core.errors import ParameterError
from spikeloom.engine import cache
from spikeloom.experiments import stdp
from spikeloom.io import weights
from spikeloom.train import record
from spikeloom.train.experiment import override, perform

SMALL = {"neurons": 8, "train_images": 60, "label_images": 20, "test_images": 20, "chunk": 25}


@pytest.fixture(autouse=True)
def bars(monkeypatch):
    """28 x 28 images of a bar that stands or lies, somewhere."""
    try:
        cache.compiler()
    except cache.CannotCompile as error:
        pytest.skip(str(error))

    def made(count, seed):
        rng = np.random.default_rng(seed)
        labels, images = np.arange(count) % 2, np.zeros((count, 1, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            at = 6 if label else 18
            image[0, at : at + 4, 4:24] = rng.integers(200, 256)
            if label:
                image[0] = image[0].T.copy()
        return images, labels.astype(np.int64)

    train, test = made(60, 0), made(20, 1)
    found = SimpleNamespace(train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1], classes=("-", "|"))
    monkeypatch.setattr(data, "load", lambda name, folder=None: found)
    monkeypatch.setattr(stdp, "WINDOW", 20)
    monkeypatch.setattr(stdp, "SLICE", 7)


def small(**changes):
    return override(recipes.load("stdp-100-mnist"), {**SMALL, **changes})


def test_bars_are_learned_without_labels_and_the_record_is_whole(tmp_path):
    found = perform(small(), tmp_path)
    assert small().parts() == ["pass-1-to-25", "pass-1-to-50", "pass-1-to-60", "labels", "test"]
    assert found["accuracy"]["test"] == 1.0 and found["results"]["accuracy"] == 1.0
    assert found["params"] == 784 * 8 and found["results"]["images_seen"] == 60
    r = found["results"]
    inhibitory = json.loads((tmp_path / "parts" / "test.json").read_text())["inhibitory"]
    synops = 8 * r["input_spikes_per_image"] + r["spikes_per_image"] + 7 * inhibitory
    assert found["synops_per_image"] == pytest.approx(synops) and found["energy_uJ"] == pytest.approx(0.9e-6 * synops)
    kinds = [figure["kind"] for figure in found["figures"]]
    assert kinds == ["image", "lines", "histogram", "raster"]
    # windows of 20 images that do not cross the chunks of 25: the first window has no names yet
    assert found["figures"][1]["series"][0]["x"] == [25, 45, 50, 60]
    assert sum(found["figures"][2]["series"][0]["counts"]) == 8
    assert record.plain(found) == record.read(tmp_path)
    assert "Receptive fields" in report.write(tmp_path).read_text()


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    perform(small(labels="responses"), tmp_path / "whole")
    original, calls = stdp._write, []

    def dies(tensors, path):
        calls.append(path)
        if len(calls) == 4:  # the second chunk's responses, after its state
            raise KeyboardInterrupt
        original(tensors, path)

    monkeypatch.setattr(stdp, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        perform(small(labels="responses"), tmp_path / "killed")
    monkeypatch.setattr(stdp, "_write", original)
    perform(small(labels="responses"), tmp_path / "killed", resume="allowed")
    one, other = (weights.read(tmp_path / name / "state-pass-1-to-60.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "killed" / "state-pass-1-to-25.safetensors").exists()
    assert record.read(tmp_path / "killed")["results"]["accuracy"] == record.read(tmp_path / "whole")["results"]["accuracy"]


def test_refusals():
    with pytest.raises(ParameterError, match="stdp-100-mnist.labels: got 'all'; must be one of 'presentation', 'responses'"):
        small(labels="all")
    with pytest.raises(ParameterError, match="stdp-100-mnist.chunk: got 0; must be at least 1"):
        small(chunk=0)
