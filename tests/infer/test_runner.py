"""A Runner against the SNN that it was compiled from: on dyadic weights every sum is exact, so that the outputs are equal bit for bit."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import spikeloom
from spikeloom.core.errors import DataError, ParameterError, ShapeError, SpikeloomError
from spikeloom.engine import cache
from spikeloom.engine.events import conv
from spikeloom.infer import load
from spikeloom.infer.stages import Pool
from spikeloom.infer.values import packed
from spikeloom.neurons import IF, LIF, MLF, AugIF, SignedIF, TerIF
from spikeloom.nn.pool import SpikingMaxPool2d
from spikeloom.nn.snn import SNN


def chain(make, channels=(20, 40, 70)):
    a, b, c = channels
    return nn.Sequential(
        nn.Conv2d(2, a, 3, padding=1), make(a), nn.AvgPool2d(2), nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), make(b),
        nn.Conv2d(b, c, (1, 3), padding=(0, 1), bias=False), make(c), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(c, 33), make(33), nn.Linear(33, 5),
    )  # fmt: skip


def equal(net, x, steps=6, encoder="direct", **options):
    snn = SNN(net, steps, encoder, **options)
    runner = spikeloom.compile(snn)
    torch.manual_seed(3)
    wanted = snn(x)
    torch.manual_seed(3)
    found = runner(x)
    assert found.shape == wanted.shape and wanted.abs().max() > 0
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    return runner


NEURONS = {
    "subtract": lambda c: IF(reset="subtract"),
    "zero": lambda c: IF(threshold=0.5, fires="above"),
    "start": lambda c: IF(reset="subtract", start=0.5),
    "channels": lambda c: IF(threshold=(torch.arange(c) % 3 + 1).div(4).tolist(), reset="subtract"),
    "floor": lambda c: IF(floor="zero"),
    "LIF": lambda c: LIF(decay=0.5, threshold=0.5),
    "leak_scaled": lambda c: LIF(tau=2.0, threshold=0.25),
}


@pytest.mark.parametrize("name", NEURONS)
def test_equal(name, dyadic, images):
    runner = equal(dyadic(chain(NEURONS[name])), images(3, 2, 12, 8))
    assert [row.way for row in runner.explain() if row.kind in ("IF", "LIF")] == ["fused"] * 4


@pytest.mark.parametrize("make", [lambda c: TerIF(), lambda c: AugIF(), lambda c: SignedIF(slope=0.5), lambda c: MLF()])
def test_counts_and_signs(make, dyadic, images):
    """Spikes that are not 0 or 1 travel as planes."""
    net = nn.Sequential(nn.Conv2d(2, 20, 3), make(20), nn.Conv2d(20, 40, 3), make(40), nn.Flatten(), nn.Linear(40 * 16, 5))
    equal(dyadic(net), images(3, 2, 8, 8))


class Residual(nn.Module):
    """Convolutions side by side, one with groups; the sum with a scaled identity drives a neuron."""

    def __init__(self, pooled):
        super().__init__()
        self.pooled = pooled
        self.stem, self.first = nn.Conv2d(2, 24, 3, padding=1), IF(reset="subtract")
        self.left, self.right, self.norm = nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(24, 24, 1, groups=2), nn.BatchNorm2d(24, eps=0.0)
        self.second, self.third, self.head = IF(reset="subtract"), IF(reset="subtract"), nn.Linear(24, 3)
        self.norm.running_var.fill_(4.0)

    def forward(self, x):
        x = self.first(self.stem(x))
        x = self.second(self.norm(self.left(x)) + x)
        x = self.third(self.left(x) + self.right(x) + x)
        return self.head(self.pooled(x))


def test_residual(dyadic, images):
    """`amax` has no stage: the network runs whole, and says so."""
    runner = equal(dyadic(Residual(lambda x: x.amax((2, 3)))), images(2, 2, 4, 4))
    (row,) = runner.explain()
    assert row.way == "dense" and "amax" in row.reason


def test_sums_of_terms(dyadic, images):
    pools = (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), lambda x: x.mean((2, 3)), lambda x: torch.mean(x, dim=[-1, -2]))
    for pooled in pools:
        runner = equal(dyadic(Residual(pooled)), images(2, 2, 8, 8))
        assert [row.way for row in runner.explain() if row.kind == "IF"] == ["fused"] * 3


def test_spiking_pool_and_input_with_time(dyadic, images):
    net = nn.Sequential(nn.Conv2d(2, 8, 3), IF(), SpikingMaxPool2d(2), nn.Conv2d(8, 8, 3), IF(), nn.Flatten(), nn.Linear(8, 3))
    runner = equal(dyadic(net), images(6, 2, 2, 8, 8), encoder=None)
    assert [(row.name, row.way) for row in runner.explain() if row.kind == "Gate"] == [("2", "events")]


def test_prelude_chunks_threads_and_stream(dyadic, images):
    net, x = dyadic(chain(NEURONS["subtract"])), images(5, 2, 12, 8)
    runner = equal(net, x, prelude=2)
    whole = runner(x)
    runner.chunk = 3
    assert torch.equal(runner(x), whole)
    stream = runner.stream()
    assert torch.equal(torch.stack([stream(x) for _ in range(8)])[2:], whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(runner(x), whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("method", ["diehl2015-data", "rueckauer2017"])
def test_converted(method, images, dyadic):
    x = images(4, 1, 28, 28)
    snn = spikeloom.convert(spikeloom.models.diehl2015_cnn(), method, x, 5)
    dyadic(snn.net)
    for module in snn.net.modules():
        if isinstance(module, IF):
            module.threshold.copy_((module.threshold * 8).ceil() / 8)
    runner = spikeloom.compile(snn)
    torch.manual_seed(0)
    wanted = snn(x)
    torch.manual_seed(0)
    torch.testing.assert_close(runner(x), wanted, rtol=0, atol=0)


def test_file(tmp_path, dyadic, images):
    """Another process, without data, training or the network's code, gives the same numbers."""
    x, file = images(2, 2, 12, 8), tmp_path / "runner.safetensors"
    runner = spikeloom.compile(SNN(dyadic(chain(NEURONS["channels"])), 6))
    runner.save(file)
    assert torch.equal(load(file)(x), runner(x))
    absent = "{'lightning', 'spikeloom.train', 'spikeloom.data'}"
    code = f"import sys, spikeloom.infer; spikeloom.infer.load({str(file)!r}); print({absent} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_copy_runs_on_its_own(precision, dyadic, images):
    """After a call too, when kernels of the C library are inside."""
    x = images(2, 2, 12, 8)
    runner = spikeloom.compile(SNN(dyadic(chain(NEURONS["channels"])), 6), x, precision)
    wanted = runner(x)
    twin = copy.deepcopy(runner)
    assert torch.equal(twin(x), wanted) and twin.explain() == runner.explain()
    twin.stages["1"].terms[0].weight.zero_()
    assert torch.equal(runner(x), wanted)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_current_without_a_neuron_says_how_it_was_computed(precision, dyadic, images, monkeypatch):
    net, x = dyadic(nn.Sequential(nn.Conv2d(2, 64, 3), IF(), nn.Conv2d(64, 64, 3))), (images(3, 2, 2, 8, 8) > 0.98).float()
    head = lambda runner: runner.explain()[-1]  # noqa: E731
    runner = spikeloom.compile(SNN(net, 3, None), x, precision)
    runner.stages["2"].run = lambda values, *rest, run=runner.stages["2"].run: run([torch.ones_like(values[0].dense()) / 2], *rest)
    runner._run(torch.zeros(6, 2, 8, 8), 3, {})
    assert (head(runner).way, head(runner).reason) == ("dense", "its input is no small whole number")
    runner = spikeloom.compile(SNN(net, 3, None), x, precision)
    runner(x)
    assert (head(runner).way, head(runner).reason) == ("events", "")

    def missing(*_):
        raise cache.CannotCompile("no C++ compiler; the reference loop runs")

    monkeypatch.setattr(conv, "_function", missing)
    runner(x)
    assert (head(runner).way, head(runner).reason) == ("dense", "no C++ compiler; it stays dense")


def test_a_pool_forgets_why_it_was_dense():
    pool = Pool(("",), "max", 2)
    pool.run([torch.rand(2, 3, 4, 4)], 2, None)
    assert pool.reason == "its input is no events, or signed ones, of which there is no maximum"
    pool.run([packed(torch.ones(2, 3, 4, 4))], 2, None)
    assert pool.reason == ""


def test_a_first_layer_of_two_channels_is_fused_where_calls_cost_more_than_sums(dyadic):
    """A step of a stream: few events, and a dense convolution would be a call of its own."""
    net = dyadic(nn.Sequential(nn.Conv2d(2, 32, 5, 2, 2, bias=False), IF(), nn.Flatten(), nn.Linear(32 * 289, 3)))
    runner, x = spikeloom.compile(SNN(net, 1, None)), torch.zeros(1, 2, 34, 34)
    x[0, 0, 3:15, 7] = 1
    assert torch.equal(runner.stream()(x), net(x))
    assert [row.reason for row in runner.explain()] == ["", "", ""]


def test_refusals(tmp_path, dyadic):
    net = dyadic(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), IF()))
    with pytest.raises(ParameterError, match="compile precision: got 'float16'"):
        spikeloom.compile(SNN(net, 2), precision="float16")
    with pytest.raises(ShapeError, match=r"Runner input: got \[3, 2, 4\]"):
        spikeloom.compile(SNN(net, 2, None))(torch.zeros(3, 2, 4))
    with pytest.raises(DataError, match="no file .*none.safetensors"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no header")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "bad.safetensors")
    with pytest.raises(SpikeloomError, match="is a Tanh, which a file cannot hold"):
        spikeloom.compile(SNN(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), 2)).save(tmp_path / "tanh.safetensors")


def test_empty_batch_and_silence(dyadic, images):
    runner = spikeloom.compile(SNN(dyadic(chain(NEURONS["start"])), 3))
    assert runner(images(0, 2, 12, 8)).shape == (3, 0, 5)
    equal(dyadic(chain(NEURONS["zero"])), torch.zeros(2, 2, 12, 8))
