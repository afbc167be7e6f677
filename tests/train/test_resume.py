"""Runs in processes of their own: killed and resumed, and on two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FIELDS = ["steps=2", "encoder=bernoulli", "augment=crop", "epochs=3", "batch=4"]


def _start(out: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "spikeloom.cli", "train", "stbp-digits", *words, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _finish(process: subprocess.Popen) -> str:
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 0, text
    return text


def _epochs(out: Path) -> list[dict]:
    rows = json.loads((out / "record.json").read_text())["epochs"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_run_killed_in_an_epoch_resumes_to_bit_identical_weights(tmp_path):
    whole = _start(tmp_path / "whole", *FIELDS)
    killed = _start(tmp_path / "killed", *FIELDS)
    deadline = time.monotonic() + 200
    while not (tmp_path / "killed" / "checkpoint.safetensors").exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # well inside the second epoch of 323 batches
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(_epochs(tmp_path / "killed")) < 3
    _finish(_start(tmp_path / "killed", *FIELDS, "--resume"))
    _finish(whole)
    for name in ("weights.safetensors", "weights-last.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert _epochs(tmp_path / "killed") == _epochs(tmp_path / "whole")
    assert not [p.name for p in (tmp_path / "whole").iterdir() if p.name.startswith(".")]


def test_two_processes_have_the_loss_curve_of_one(tmp_path):
    fields = ["steps=2", "epochs=2", "precision=64-true", "accelerator=cpu"]
    one = _start(tmp_path / "one", *fields)
    two = _start(tmp_path / "two", *fields, "devices=2")
    _finish(one)
    _finish(two)
    for a, b in zip(_epochs(tmp_path / "one"), _epochs(tmp_path / "two"), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["val_accuracy"] == b["val_accuracy"]
        assert a["test_accuracy"] == b["test_accuracy"]
