"""Learning against Brian 2: the record, and who may be timed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from spikeloom.bench import stdp
from spikeloom.bench.brian import Brian
from spikeloom.cli import main
from spikeloom.core.errors import ParameterError
from spikeloom.plasticity import Circuit, Network

TINY = ("bench", "stdp", "--neurons", "3", "--images", "2", "--rounds", "1", "--targets", "numpy", "--malloc", "untuned")


def test_images_are_as_lit_as_digits():
    x = stdp.pixels(200, 784).double()
    assert (x > 0).double().mean() == pytest.approx(stdp.LIT, abs=0.01)
    assert x[x > 0].mean() == pytest.approx(stdp.BRIGHT, abs=1)


def test_the_record_says_who_stayed_away(tmp_path, monkeypatch):
    monkeypatch.setattr(Brian, "available", lambda self: (None, "not installed; pip install --no-deps Brian2==2.9.0"))
    assert main([*TINY, "--json", str(tmp_path / "out.json")]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["bench"] == "stdp" and found["left_out"] == [{"impl": "brian2-numpy", "reason": Brian().available()[1]}]
    (row,) = found["results"]
    assert row["impl"] == "spikeloom" and row["ratio"] == 1.0
    assert row["images_per_second"] == pytest.approx(2000 / row["median_ms"])
    assert (tmp_path / "out.svg").exists()
    assert stdp.tables(found)[0][2][0][0] == "spikeloom"


def test_one_that_counts_other_spikes_is_not_timed(monkeypatch):
    circuit = Circuit(image=20.0, rest=10.0, neurons=3, attempts=1)
    net, image = Network(circuit, backend="cpp"), stdp.pixels(1, 784)[0]
    same = Network(circuit, backend="cpp").learn(image[None]).counts[0].numpy()
    for more, passed in ((0, True), (1, False)):
        learner = SimpleNamespace(learn=lambda fired, more=more: same + more, difference=lambda state: 0.0)
        assert stdp.check("other", learner, Network(circuit, backend="cpp"), image, np.zeros((40, 784), bool)).passed == passed
    far = SimpleNamespace(learn=lambda fired: same, difference=lambda state: 1e-6)
    assert not stdp.check("other", far, net, image, np.zeros((40, 784), bool)).passed


def test_brian_computes_the_same():
    pytest.importorskip("brian2", exc_type=Exception)
    circuit = Circuit(image=20.0, rest=20.0, theta=5.0, total=200.0, neurons=10, attempts=1)
    net, image = Network(circuit, backend="cpp"), stdp.pixels(1, 784)[0]
    fired = stdp.fires(circuit, image, int(net.keys(image[None], 0, 0)[0]), 0)
    verdict = stdp.check("brian2", Brian().learner(net, "numpy"), net, image, fired)
    assert verdict.passed, verdict.text


def test_refusals():
    with pytest.raises(ParameterError, match="bench --images: got 0; must be at least 1"):
        stdp.Options(images=0)
    with pytest.raises(ParameterError, match="bench --targets: got 'c'; must be one of 'cython', 'numpy'"):
        stdp.Options(targets=("c",))
