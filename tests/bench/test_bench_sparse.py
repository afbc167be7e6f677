"""`spikeloom bench sparse`: the record, the chart, the gate and mistakes; no times."""

import itertools
import json

import pytest
import torch

from spikeloom import data
from spikeloom.bench import race, sparse, spikes
from spikeloom.bench.timing import Plan
from spikeloom.cli import main
from spikeloom.core.errors import DataError, ParameterError
from spikeloom.engine import cache

QUICK = ("--rounds", "1", "--budget", "0.01", "--malloc", "untuned")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    try:
        cache.compiler()
    except cache.CannotCompile as error:
        pytest.skip(str(error))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "kernels"))
    monkeypatch.setattr(sparse, "LAYERS", {"3x6x6": (3, 5, 6, 3, 1), "3x7x7/2": (3, 5, 7, 3, 2)})


def test_the_record_the_table_and_the_chart(capsys, tmp_path):
    out = tmp_path / "s.json"
    words = ("--batches", "1,2", "--densities", "5,50", "--json", str(out))
    assert main(["bench", "sparse", *words, *QUICK]) == 0
    record = json.loads(out.read_text())
    assert record["bench"] == "sparse" and record["options"]["layers"] == ["3x6x6", "3x7x7/2"]
    rows = record["results"]
    cells = itertools.product(sparse.LAYERS, (1, 2), (0.05, 0.5), ("float32", "int8"))
    assert {(r["layer"], r["batch"], r["density"], r["dtype"]) for r in rows} == set(cells)
    assert len(rows) == 16 and all(r["speedup_vs_dense"] > 0 and r["speedup_with_packing"] > 0 and r["threads"] == 1 for r in rows)
    assert all(r["dense_form"] in sparse.DENSE and r["way"] in ("list", "tile", "table", "dense") for r in rows)
    assert all(entry["passed"] and entry["text"] == "all outputs equal" for entry in record["gate"]) and len(record["gate"]) == 8
    assert "best dense" in capsys.readouterr().out and (tmp_path / "s.svg").read_text().startswith("<?xml")


def test_what_is_wrong_is_not_timed(monkeypatch):
    from spikeloom.engine import events

    right = events.conv2d
    monkeypatch.setattr(events, "conv2d", lambda *args: right(*args) + 1)
    place = race.Place(plan=Plan(rounds=1), show=False)
    told, threads = [], torch.get_num_threads()
    record = sparse.bench(sparse.Options(("3x6x6",), (1,), (50,)), place, told.append)
    assert record["results"] == [] and "float32, float32, packing, int8, int8, packing differ" in record["left_out"][0]["reason"] and told
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": ("3x6x7",)}, r"bench --layers: got '3x6x7'; did you mean '3x6x6'"),
        ({"batches": (0,)}, r"bench --batches: got \(0,\); must be at least 1"),
        ({"densities": (5, 101)}, r"bench --densities: got \(5, 101\); must be percent, from 0 to 100"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ParameterError, match=message):
        sparse.Options(**options)


def test_the_spikes_of_a_network_on_real_images(capsys, tmp_path, monkeypatch):
    """The zoo's small network on MNIST, T = 8: its one convolution that reads spikes, at the density that its input has."""
    try:
        data.load("mnist")
    except DataError as error:
        pytest.skip(str(error))
    out = tmp_path / "real.json"
    assert main(["bench", "sparse", "--model", "ann-cnn-mnist", "--steps", "8", "--batches", "2", "--json", str(out), *QUICK]) == 0
    record = json.loads(out.read_text())
    (read,) = spikes.real("ann-cnn-mnist", "", "rueckauer2017", 8, 2)
    assert read.spikes.shape[0] == 2 and torch.equal(read.spikes, read.spikes.round()) and 0 < read.spikes.max() < 2**read.planes
    counted = sum((read.spikes.int() >> k & 1).sum().item() for k in range(read.planes)) / read.spikes.numel()
    assert [row["density"] for row in record["results"]] == [pytest.approx(counted, rel=1e-12)] * 2
    assert {row["dtype"] for row in record["results"]} == {"float32", "int8"} and record["gate"][0]["text"] == "all outputs equal"
    assert f"{counted:.2%}" in capsys.readouterr().out and out.with_suffix(".svg").exists()
