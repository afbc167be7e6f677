"""int8 Runners: bit for bit what exact whole numbers give, and equal to float32 where its weights are whole numbers already."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import spikeloom
from spikeloom.convert import routes
from spikeloom.core.errors import ParameterError
from spikeloom.engine import cache
from spikeloom.infer import fused, load, whole
from spikeloom.neurons import IF, LIF, MLF, AugIF, SignedIF, TerIF, known
from spikeloom.nn.snn import SNN


def on_grid(net, seed=0):
    """Weights are whole 1/512s up to 127/512, which every channel has, biases whole 1/8192s: int8 holds them as they are."""
    draw = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = torch.randint(-127, 128, module.weight.shape, generator=draw)
            weight.flatten(1)[:, 0] = 127
            module.weight.data = weight / 512
            if module.bias is not None:
                module.bias.data = torch.randint(-999, 1000, module.bias.shape, generator=draw) / 8192
    return net.eval().requires_grad_(False)


def chain(make):
    return nn.Sequential(
        nn.Conv2d(3, 70, 3, padding=1), make(70), nn.AvgPool2d(2), nn.Conv2d(70, 150, 3, stride=2, padding=1, bias=False), make(150),
        nn.Conv2d(150, 12, (1, 3), padding=(0, 1)), make(12), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 33), make(33), nn.Linear(33, 5),
    )  # fmt: skip


class Residual(nn.Module):
    """Sums of convolutions, one with groups, one depthwise, and of the input itself; a norm that stays alone."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(24, 24, 1, groups=2)
        self.deep, self.head = nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Linear(24 * 20, 5)
        self.a, self.b, self.c, self.flat = IF(reset="subtract"), IF(reset="subtract", start=0.5), TerIF(), nn.Flatten()

    def forward(self, x):
        x = self.a(self.stem(x))
        y = self.b(self.left(x) + self.right(x) + x)
        return self.head(self.flat(self.c(self.deep(y) + x)))


NETS = {
    "subtract": lambda: chain(lambda c: IF(reset="subtract")),
    "zero": lambda: chain(lambda c: IF(threshold=0.5, fires="above", floor="zero")),
    "channels": lambda: chain(lambda c: IF(threshold=(torch.arange(c) % 3 + 2).div(4).tolist(), reset="subtract", start=0.25)),
    "ternary": lambda: chain(lambda c: TerIF(negative=0.25)),
    "leaky": lambda: chain(lambda c: LIF(decay=0.5, threshold=0.5)),
    "counts": lambda: chain(lambda c: AugIF()),
    "residual": Residual,
}


def spikes(*shape, share=0.3):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(5)) < share).float()


@pytest.mark.parametrize("name", NETS)
def test_equal_to_float32_where_weights_are_whole(name):
    """Binary input, so that no layer is analog; batches of 3 and 20 images."""
    snn, x = SNN(on_grid(NETS[name]()), 6, None), spikes(6, 3, 3, 4, 5) if name == "residual" else spikes(6, 3, 3, 11, 9)
    runner, wanted = spikeloom.compile(snn, x, "int8"), snn(x)
    assert wanted.abs().max() > 0
    torch.testing.assert_close(runner(x), wanted, rtol=0, atol=0)
    assert runner.loss == {"agreement": 1.0, "difference": 0.0, "images": 3}
    for row in runner.explain():
        if row.kind in known:
            exact = row.kind in ("IF", "TerIF")
            assert row.numbers == ("int8" if exact else "int8, float32 membranes") and exact == ("no form on whole" not in row.reason)


def small():
    return nn.Sequential(
        nn.Conv2d(2, 20, 3, padding=1), IF(reset="subtract", threshold=0.75), nn.AvgPool2d(2), nn.Conv2d(20, 130, 3), IF(reset="subtract"),
        nn.Flatten(), nn.Linear(130 * 4, 9), IF(reset="zero"), nn.Linear(9, 4),
    ).eval().requires_grad_(False)  # fmt: skip


def louder(net, by=3):
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data *= by
    return net


def reference(runner, x, steps):
    """The network `small` on int64, step by step, from the numbers in the Runner's file."""
    layers = [s for s in runner.stages.values() if hasattr(s, "terms")]
    terms = [layer.terms[0] for layer in layers]
    weights = [t.weight.numpy().astype(np.int64) for t in terms]
    limit = [np.rint(layer.neuron.threshold.double().numpy() / layer.fine.numpy()).astype(np.int64) for layer in layers[:3]]
    bias = [layer.bias.numpy().astype(np.int64) for layer in layers[:3]]
    pixels = np.rint(x.double().numpy() / terms[0].source).astype(np.int64)
    first = convolved(np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1))), weights[0])
    first = np.rint(first * terms[0].factor.numpy()[:, None, None]).astype(np.int64) + bias[0][:, None, None]
    v, out = [0, 0, 0], []
    for _ in range(steps):
        v[0] = v[0] + first
        one = (v[0] >= limit[0][:, None, None]).astype(np.int64)
        v[0] = v[0] - one * limit[0][:, None, None]
        pooled = one[:, :, 0::2, 0::2] + one[:, :, 1::2, 0::2] + one[:, :, 0::2, 1::2] + one[:, :, 1::2, 1::2]
        v[1] = v[1] + 16 * convolved(pooled, weights[1]) + bias[1][:, None, None]
        two = (v[1] >= limit[1][:, None, None]).astype(np.int64)
        v[1] = v[1] - two * limit[1][:, None, None]
        v[2] = v[2] + 16 * two.reshape(len(x), -1) @ weights[2].T + bias[2]
        three = (v[2] >= limit[2]).astype(np.int64)
        v[2] = v[2] * (1 - three)
        out.append((16 * three @ weights[3].T * layers[3].fine.numpy() + layers[3].bias.numpy()).astype(np.float32))
    return torch.from_numpy(np.stack(out))


def convolved(x, weight):
    """Correlation of whole numbers, no padding."""
    kh, kw = weight.shape[2:]
    h, w = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    taps = [(weight[:, :, a, b], x[:, :, a : a + h, b : b + w]) for a in range(kh) for b in range(kw)]
    return sum(np.einsum("oc,nchw->nohw", tap, part) for tap, part in taps)


@pytest.fixture
def case():
    torch.manual_seed(1)
    snn, x = SNN(louder(small()), 20), torch.randn(7, 2, 8, 8)
    return snn, x, spikeloom.compile(snn, x, "int8")


def test_an_exact_reference(case):
    _, x, runner = case
    found = runner(x)
    assert found.std(0).min() > 0
    assert torch.equal(found, reference(runner, x, 20))
    assert {row.numbers for row in runner.explain() if row.kind == "IF"} == {"int8"}


def test_chunks_threads_streams_and_files(case, tmp_path):
    _, x, runner = case
    wanted = runner(x)
    runner.chunk = 7
    assert torch.equal(runner(x), wanted)
    stream = runner.stream()
    assert torch.equal(torch.stack([stream(x) for _ in range(20)]), wanted)
    assert torch.equal(torch.cat([runner(part) for part in x.split(3)], 1), wanted)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(runner(x), wanted)
    finally:
        torch.set_num_threads(threads)
    runner.save(tmp_path / "whole.safetensors")
    again = load(tmp_path / "whole.safetensors")
    assert torch.equal(again(x), wanted) and (again.precision, again.loss) == ("int8", runner.loss)
    assert [row.numbers for row in again.explain()] == [row.numbers for row in runner.explain()]


@pytest.mark.parametrize("name", ["subtract", "ternary", "leaky", "residual"])
def test_without_a_compiler(name, monkeypatch):
    """torch's own int32 operations give the same bits."""
    torch.manual_seed(1)
    net = louder(NETS[name]()).eval().requires_grad_(False)
    snn, x = SNN(net, 5), torch.rand(3, 3, 4, 5) if name == "residual" else torch.rand(3, 3, 11, 9)
    runner = spikeloom.compile(snn, x, "int8")
    wanted = runner(x)

    def none(*args):
        raise cache.CannotCompile("no compiler here")

    monkeypatch.setattr(fused.compiled, "function", none)
    for stage in runner.stages.values():
        stage._looked, stage._kernel = False, None
    assert torch.equal(runner(x), wanted)
    assert "no compiler here" in next(row.reason for row in runner.explain() if row.kind in known)


def test_loss_is_what_two_runners_differ_by(case):
    snn, x, runner = case
    one, two = spikeloom.compile(snn)(x).mean(0), runner(x).mean(0)
    assert runner.loss["images"] == 7
    assert runner.loss["agreement"] == pytest.approx((one.argmax(1) == two.argmax(1)).double().mean().item())
    assert runner.loss["difference"] == pytest.approx(((one - two).norm() / one.norm()).item(), rel=1e-5)
    assert 0 < runner.loss["difference"] < 0.2


def test_membranes_stop_at_their_bound():
    """Currents of -0.98 2^28 and then of +0.98 2^28: the membrane falls to the bound, not beyond, and rises again."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), IF(reset="subtract")).eval().requires_grad_(False)
    net[0].weight.fill_(1000.0)
    x = torch.tensor([-1000.0] * 4 + [1000.0] * 4).view(8, 1, 1)
    runner = spikeloom.compile(SNN(net, 8, None), x / 1010, "int8")  # a thousandth of what comes; no whole numbers
    layer = next(s for s in runner.stages.values() if isinstance(s, whole.WholeLayer))
    limit, current, v, wanted = round(1 / layer.fine.item()), round(1e6 / layer.fine.item()), 0, []
    assert layer.membranes == torch.int32 and 0.97 * 2**28 < current < 2**28
    for sign in [-1] * 4 + [1] * 4:
        v += sign * current
        wanted.append(float(v >= limit))
        v = max(-(2**28), min(2**28, v - int(wanted[-1]) * limit))
    assert runner(x).flatten().tolist() == wanted == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("make", known.values())
def test_integer_forms(make):
    why = whole.integer_form(make())
    assert (why == "") == (make in (IF, TerIF)), why


@pytest.mark.parametrize("neuron", [TerIF(negative=float("inf")), SignedIF(slope=0.5), MLF(), IF(threshold=1e-6)])
def test_float_membranes_say_why(neuron):
    torch.manual_seed(0)
    snn, x = SNN(nn.Sequential(nn.Conv2d(1, 8, 3), IF(), nn.Conv2d(8, 8, 3), neuron, nn.Flatten()).eval(), 4), torch.rand(2, 1, 8, 8)
    runner = spikeloom.compile(snn, x, "int8")
    row = next(row for row in runner.explain() if row.name == "3")
    assert row.numbers == "int8, float32 membranes" and row.reason
    assert runner(x).isfinite().all()


# the others count the few spikes of their last layer
AVERAGED = [name for name, make in routes.known.items() if make().readout == "membrane"]


@pytest.mark.parametrize("method", AVERAGED)
def test_every_method(method, images):
    torch.manual_seed(2)
    act = spikeloom.activations.QCFS(levels=4, scale=1.0) if method == "qcfs" else nn.ReLU()
    net = nn.Sequential(
        nn.Conv2d(2, 20, 3, padding=1, bias=False), act, nn.AvgPool2d(2), nn.Conv2d(20, 34, 3, padding=1, bias=False), copy.deepcopy(act),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(136, 5, bias=False),
    ).eval()  # fmt: skip
    x = images(16, 2, 8, 8)
    snn = spikeloom.convert(louder(net, 4), method, x, 32)
    runner = spikeloom.compile(snn, x, "int8")
    assert runner.loss["difference"] < 0.1 and runner.loss["agreement"] >= 0.8


def test_refusals():
    net = nn.Sequential(nn.Linear(4, 3), IF()).eval()
    with pytest.raises(ParameterError, match="compile data: got None; must be calibration inputs, for precision='int8'"):
        spikeloom.compile(SNN(net, 2), precision="int8")
    with pytest.raises(ParameterError, match="compile precision: got 'int4'"):
        spikeloom.compile(SNN(net, 2), precision="int4")


def test_iterables_of_batches():
    net, x = louder(small()), torch.rand(20, 2, 8, 8)
    runners = [spikeloom.compile(SNN(net, 4), data, "int8") for data in (x, list(x.split(6)), [(x, torch.zeros(20))])]
    assert all(torch.equal(r(x), runners[0](x)) for r in runners) and runners[1].loss["images"] == 20
    timed = torch.rand(4, 20, 2, 8, 8)
    assert spikeloom.compile(SNN(net, 4, None), timed, "int8").loss["images"] == 20
