"""The stream's record, its accounting of work against numbers worked by hand, and the network of the zoo on the real recordings."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import spikeloom
from spikeloom import IF, SNN, data, measure, recipes
from spikeloom.bench import stream
from spikeloom.cli import main
from spikeloom.core.errors import DataError, ParameterError
from spikeloom.data.events import Events
from spikeloom.io import weights, zoo
from spikeloom.train import build


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Three recordings in place of the real ones."""

    def events(card, folder, part):
        rng = np.random.default_rng(0)
        for label in (3, 1, 4):
            t = np.sort(rng.integers(0, 310_000, 900))
            yield Events(t, *rng.integers(0, 34, (2, 900)), rng.integers(0, 2, 900)), label

    monkeypatch.setattr(stream.recordings, "find", lambda card, data_dir: tmp_path)
    monkeypatch.setattr(stream.recordings, "events", events)
    weights.save(build(recipes.load("nmnist-1k")).net, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_the_record(recorded, tmp_path):
    words = ("--recordings", "3", "--bin-us", "31000", "--weights", str(recorded), "--json", str(tmp_path / "out.json"))
    assert main(["bench", "stream", *words]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["bench"] == "stream" and (tmp_path / "out.svg").exists()
    assert found["options"] == {"weights": "weights.safetensors", "recordings": 3, "bin_us": 31_000, "steps": 10}
    assert [row["impl"] for row in found["results"]] == ["spikeloom-sparse", "spikeloom-dense"]
    for row in found["results"]:
        assert row["recordings"] == 3 and 0 < row["median_ms"] <= row["p95_ms"] and 0 <= row["accuracy"] <= 1
        assert row["times_real_time"] == pytest.approx(row["steps_per_second"] * 0.031)
    assert found["results"][1]["speedup_vs_dense"] == 1.0 and found["results"][0]["accuracy"] == found["results"][1]["accuracy"]
    assert found["events_per_step"] == 90 and found["trained_in"]["steps"] == 31
    work = found["work"]
    assert work["operations_per_step"]["dense"] == 462_400 + 1_492_992 + 51_840
    assert 0 <= work["skipped"] <= work["idle"] < 1
    assert [row["layer"] for row in work["layers"]] == ["conv1", "conv2", "fc"]
    assert [len(rows) for _, _, rows in stream.tables(found)] == [2, 4]


def test_work_by_hand():
    # one 3 x 3 kernel from 2 channels to 4 on 8 x 8: 64 * 4 * 18 operations a step; an event inside reaches 9 * 4, in a corner 4 * 4
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), IF(threshold=1e6), nn.Flatten(), nn.Linear(256, 5, bias=False))
    snn = SNN(net, 3, None).eval()
    images = torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8)
    images[0, 0, 1, 4, 4] = 2
    images[0, 2, 0, 0, 0] = 1
    for reason, skipped in (("", 1 - 88 / (3 * 4608 + 3 * 1280)), ("too few channels", 3 * 1280 / (3 * 4608 + 3 * 1280))):
        ways = (((0.1,), reason), ((), "it has no weights"), ((0.0,), ""))
        rows = [SimpleNamespace(density=density, reason=why) for density, why in ways]
        runner = SimpleNamespace(stream=lambda: lambda x: None, explain=lambda rows=rows: rows)
        work = stream._work(runner, snn, images)
        assert work["operations_per_step"]["needed"] == pytest.approx((2 * 36 + 16) / 3)
        assert work["idle"] == pytest.approx(1 - 88 / (3 * 4608 + 3 * 1280)) and work["skipped"] == pytest.approx(skipped)
        assert work["layers"][0]["share"] == pytest.approx(4608 / (4608 + 1280)) and work["layers"][1]["skipped"] == 1.0


def test_a_runner_that_answers_something_else_is_not_timed():
    snn = SNN(nn.Sequential(nn.Flatten(), nn.Linear(8, 5)), 3, None).eval()
    other = SNN(nn.Sequential(nn.Flatten(), nn.Linear(8, 5)), 3, None).eval()
    images = torch.ones(1, 3, 2, 2, 2, dtype=torch.uint8)
    with torch.no_grad():
        assert stream._same(spikeloom.compile(snn), snn, images).passed
        assert not stream._same(spikeloom.compile(other), snn, images).passed


def test_positive_currents_give_as_many_spikes_in_all_bins():
    """Below one spike a step the sums differ by one spike at most: what the membrane still holds."""
    neuron = IF(reset="subtract")
    x = torch.rand(400, 1, 50)
    fine = SNN(nn.Sequential(neuron), 400, None)(x * 0.2).sum(0)
    coarse = SNN(nn.Sequential(neuron), 100, None)(x.unflatten(0, (100, 4)).sum(1) * 0.2).sum(0)
    assert (fine - coarse).abs().max() <= 1 and fine.min() > 20


def test_the_network_of_the_zoo_on_the_real_recordings():
    root = os.environ.get("SPIKELOOM_DATA")
    if not root or not (Path(root) / "events" / "nmnist_1k").is_dir():
        pytest.skip("no real data: set SPIKELOOM_DATA to a folder with events/nmnist_1k")
    card, file = zoo.find("nmnist-1k")
    run = recipes.load("nmnist-1k")
    snn = build(run).eval()
    weights.load(snn.net, file)
    images, labels = stream._images(run, run.steps, stream.Options())
    assert torch.equal(labels, torch.from_numpy(np.array(data.load("nmnist_1k", None, "time", run.steps).test_labels)))
    found = measure.accuracy(snn, stream._batches(images, labels)).by_step[-1]
    assert abs(found - card.accuracy) <= 0.01 + 1e-9  # one recording: other processors round otherwise


def test_refusals(recorded):
    with pytest.raises(ParameterError, match="bench --recordings: got 101; must be from 1 to 100"):
        stream.Options(recordings=101)
    with pytest.raises(ParameterError, match="bench --bin-us: got 0; must be from 1 to 310000"):
        stream.Options(bin_us=0)
    with pytest.raises(DataError, match="no-such-network"):
        stream.bench(stream.Options(weights="no-such-network"), SimpleNamespace(settled=torch.no_grad))
