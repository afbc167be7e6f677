"""`spikeloom bench` through the command line: the record's schema, the chart, and mistakes."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from spikeloom.bench import chart, neuron, rivals
from spikeloom.cli import main

OWN = Path(__file__).parents[2] / "docs" / "own_neuron.py"
QUICK = ("--rounds", "2", "--budget", "0.01")
HEAD = {
    "schema", "bench", "options", "versions", "machine", "threads", "device", "malloc", "plan", "gate", "left_out", "results", "constants",
}  # fmt: skip
ROW = {
    "impl", "pass", "malloc", "median_ms", "best_ms", "spread_ms", "vs_copy", "rounds", "calls", "times_ms", "saved_bytes_per_element_step",
}  # fmt: skip


@pytest.fixture
def quiet(monkeypatch):
    """Our own implementations only, and nothing to compile."""
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    monkeypatch.setattr(rivals, "known", {name: cls for name, cls in rivals.known.items() if not cls.requirement})


def bench(capsys, *words):
    status = main(["bench", *words])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_tiny_neuron_run_writes_the_whole_record_and_a_chart(capsys, tmp_path):
    out = tmp_path / "n.json"
    words = ("--neuron", "LIF", "--steps", "3", "--neurons", "50", "--threads", "1", "--first-use", "no", "--json", str(out))
    status, shown, _ = bench(capsys, "neuron", *words, *QUICK)
    assert status == 0
    record = json.loads(out.read_text())
    assert HEAD | {"overhead_us", "overhead_shape", "first_use_s"} == set(record)
    assert (record["schema"], record["bench"], record["threads"]) == (1, "neuron", 1)
    assert record["options"] == {"neuron": "LIF", "steps": 3, "neurons": 50, "dtype": "float32"}
    assert all(set(row) >= ROW for row in record["results"])
    pairs = {(row["impl"], row["pass"]) for row in record["results"]}
    assert pairs >= {(impl, which) for impl in ("copy", "spikeloom", "eager") for which in ("forward", "forward_backward")}
    assert all(row["vs_copy"] == 1.0 for row in record["results"] if row["impl"] == "copy")
    assert all(len(row["times_ms"]) == 2 and row["median_ms"] > 0 for row in record["results"])
    judged = {entry["impl"]: entry["passed"] for entry in record["gate"]}
    assert {impl for impl, _ in pairs} == {impl for impl, passed in judged.items() if passed}
    # nobody is dropped in silence
    assert {cls.impl for cls in rivals.known.values()} == {impl for impl, _ in pairs if impl != "copy"} | {
        entry["impl"] for entry in record["left_out"]
    }
    assert all(entry["impl"] in shown for entry in record["left_out"])
    assert (tmp_path / "n.svg").read_text().startswith("<?xml")
    assert shown.index("gate spikeloom: green") < shown.index("median ms")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["MLF", "PLIF", f"{OWN}:AdaptiveLIF"])
def test_any_neuron_can_be_timed(name, capsys, tmp_path):
    out = tmp_path / "n.json"
    words = ("--neuron", name, "--steps", "3", "--neurons", "40", "--first-use", "no")
    words += ("--json", str(out), "--chart", str(tmp_path / "n.png"))
    status, _, _ = bench(capsys, "neuron", *words, *QUICK)
    assert status == 0
    assert {"copy", "spikeloom", "eager"} <= {row["impl"] for row in json.loads(out.read_text())["results"]}
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("what", "words"), [("layer", ("--channels", "2", "--side", "4")), ("network", ("--model", "stbp_cnn"))])
def test_layers_and_networks(what, words, capsys, tmp_path):
    out = tmp_path / "w.json"
    rest = ("--batch", "1", "--steps", "2", "--peak", "no", "--where", "no", "--json", str(out))
    status, shown, _ = bench(capsys, what, *words, *rest, *QUICK)
    assert status == 0
    record = json.loads(out.read_text())
    assert set(record) == HEAD and record["bench"] == what
    assert all(set(row) >= ROW | {"peak_mib", "saved_mib", "vs_relu"} for row in record["results"])
    assert {"copy", "spikeloom", "relu"} <= {row["impl"] for row in record["results"]}
    assert "peak MiB" in shown


def test_the_first_use_is_slower_with_an_empty_cache_by_a_compilation(monkeypatch):
    from spikeloom.bench import child

    seen = []

    def run(task, environment):
        seen.append(environment["SPIKELOOM_CACHE"])
        return {"seconds": float(len(seen))}

    monkeypatch.setattr(child, "run", run)
    assert child.first_use("LIF", "float32") == {"fresh": 1.0, "cached": 2.0}
    assert seen[0] == seen[1] and not Path(seen[0]).exists()


def test_both_ways_of_allocating_are_two_processes_and_one_record(monkeypatch, capsys, tmp_path):
    calls = []

    def fake(words, **options):
        calls.append(words)
        malloc = words[words.index("--malloc") + 1]
        row = {"impl": "copy", "malloc": malloc, "median_ms": 1.0, "vs_copy": 1.0, "rounds": 2, "saved_bytes_per_element_step": 0.0}
        rows = [{**row, "pass": which} for which in neuron.PASSES] + [{**row, "pass": "forward_backward", "impl": "spikeloom"}]
        record = {"bench": "neuron", "malloc": malloc, "results": rows, "overhead_us": {"copy": {"forward": 1.0}}, "left_out": []}
        record |= {"overhead_shape": [4, 64], "device": "cpu", "threads": 1}
        record["options"] = {"neuron": "LIF", "steps": 4, "neurons": 9, "dtype": "float32"}
        Path(words[words.index("--json") + 1]).write_text(json.dumps(record))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", fake)
    status, shown, _ = bench(capsys, "neuron", "--steps", "4", "--neurons", "9", "--malloc", "both", "--json", str(tmp_path / "b.json"))
    assert status == 0
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["malloc"] == "both"
    assert [row["malloc"] for row in record["results"]] == ["tuned"] * 3 + ["untuned"] * 3
    assert len(record["runs"]) == 2
    assert all(call[1:5] == ["-m", "spikeloom.cli", "bench", "neuron"] and call[call.index("--steps") + 1] == "4" for call in calls)
    assert "untuned" in shown
    monkeypatch.setattr(subprocess, "run", lambda words, **options: SimpleNamespace(returncode=2))
    status, _, err = bench(capsys, "neuron", "--malloc", "both")
    assert status == 2 and "the tuned run failed" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("neuron", "--neuron", "LIV"), "did you mean 'LIF'"),
        (("neuron", "--neuron", "nowhere.py:LIF"), "there is no file nowhere.py"),
        (("neuron", "--neuron", f"{OWN}:Adaptive"), "FILE.py:CLASS with a subclass of spikeloom.Neuron"),
        (("neuron", "--steps", "0"), "bench --steps: got 0; must be a whole number of at least 1"),
        (("neuron", "--dtype", "int8"), "bench --dtype: got 'int8'; must be one of float32"),
        (("neuron", "--threads", "0"), "bench --threads: got 0"),
        (("neuron", "--rounds", "0"), "bench --rounds: got 0"),
        (("neuron", "--chart", "n.txt"), "bench --chart: got 'n.txt'; must be a file ending in .svg"),
        (("network", "--model", "vgg7"), "did you mean 'vgg6'"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(words, message, capsys):
    status, _, err = bench(capsys, *words)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_chart_of_both_ways_names_them():
    rows = [{"impl": "copy", "malloc": malloc} for malloc in ("tuned", "untuned")]
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    chart._named(axes, rows)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["copy (tuned)", "copy (untuned)"]
