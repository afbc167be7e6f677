"""Norms inside the kernels of the neurons behind them."""

import copy

import pytest
import torch
from torch import nn

from spikeloom import LIF, MLF, SNN, models
from spikeloom.nn import fuse
from spikeloom.nn.norms import TdBN


def small(norm=None, **options):
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), norm or TdBN(6, **options), MLF(), nn.Conv2d(6, 4, 3), TdBN(4, **options), LIF(surrogate="atan"),
        nn.Flatten(), nn.Linear(64, 3),
    ).double()  # fmt: skip


def batch():
    return torch.randn(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2


def trained(snn, x):
    """Output, gradients and running statistics of a training step."""
    y = snn.train()(x)
    (y * torch.arange(y.numel()).view_as(y)).sum().backward()
    return y.detach(), [p.grad for p in snn.parameters()], [b.clone() for b in snn.buffers()]


NORMS = {
    "inside": lambda: small(epsilon="inside"),
    "outside": lambda: small(epsilon="outside"),
    "no affine": lambda: small(affine="none"),
    "BatchNorm2d": lambda: small(nn.BatchNorm2d(6)),
    "BatchNorm2d, no affine": lambda: small(nn.BatchNorm2d(6, affine=False)),
    "ds": lambda: models.ds_resnet(8, channels=(2, 4, 6), inputs=2, classes=3).double(),
    "plain": lambda: models.ds_resnet(8, channels=(2, 4, 6), inputs=2, classes=3, block="plain").double(),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("which", NORMS)
def test_a_training_step_is_the_same_function(which, layout):
    torch.manual_seed(0)
    net = NORMS[which]().to(memory_format=layout)
    apart, together = SNN(copy.deepcopy(net), 4, fusion="none"), SNN(net, 4)
    x = batch().to(memory_format=layout)
    (y, grads, buffers), (z, others, theirs) = trained(apart, x), trained(together, x)
    assert together.pairs()[0] and not apart.pairs()[0]
    torch.testing.assert_close(z, y, rtol=1e-12, atol=1e-12)
    for a, b in zip((*grads, *buffers), (*others, *theirs), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


def test_evaluation_and_stream():
    snn = SNN(small(), 4)
    trained(snn, batch())
    snn.eval()
    apart = SNN(snn.net, 4, fusion="none")
    x = batch()
    with torch.no_grad():
        y = snn(x)
        torch.testing.assert_close(y, apart(x), rtol=1e-12, atol=1e-12)
        stream = snn.stream()
        assert torch.equal(torch.stack([stream(x) for _ in range(4)]), y)


def test_the_normalised_input_exists_nowhere():
    """Kept for the backward: inputs of convolutions and of the linear layer, and the outputs of convolutions. Nothing else of size."""
    snn = SNN(small(), 4).train()
    sizes = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.update({t.data_ptr(): t.numel()}) or t, lambda t: t):
        snn(batch())
    rows = 4 * 5
    # x once instead of at every step; conv, spikes, conv, spikes (a view: flattened)
    expected = [5 * 2 * 36, rows * 6 * 36, rows * 6 * 36, rows * 4 * 16, rows * 64]
    assert sorted(n for n in sizes.values() if n >= 5 * 2 * 36) == sorted(expected)


def names(snn):
    modules = {id(m): name for name, m in snn.net.named_modules()}
    return [(p.name, modules[id(p.neuron)]) for p in snn.pairs()[0]]


def test_which_norms_are_found():
    snn = SNN(models.ds_resnet(8, channels=(2, 4, 6)), 4)
    found = names(snn)
    # the stem; in each block the inner norm, the last one (read by the block's neuron) and, in two, that of the shortcut
    assert len(found) == 1 + 3 * 2 + 2 and ("1", "2") in found and ("3.branch.4", "3.neuron") in found
    plain = names(SNN(models.ds_resnet(8, channels=(2, 4, 6), block="plain"), 4))
    assert len(plain) == 1 + 3  # branch and shortcut are added before the neuron


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.first, self.second, self.other = TdBN(3), LIF(), LIF(), TdBN(3)

    def forward(self, x):
        normal = self.norm(x)
        return self.first(normal) + self.second(self.other(normal)) + self.second(x)


def test_what_is_read_or_called_twice_stays_apart():
    snn = SNN(Shared(), 2)
    assert snn.pairs() == ([], "")
    snn(torch.randn(2, 3))


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x):
        return self.net(x) if x.sum() > -1e9 else x


def test_a_network_that_cannot_be_traced_runs_apart():
    snn = SNN(Undecided(), 4)
    assert snn(batch()).shape == (4, 5, 3)
    found, reason = snn.pairs()
    assert not found and "the network cannot be traced (symbolically traced variables" in reason


def test_a_hook_sees_what_it_would_see():
    """A hook on the norm, on the neuron or on a container around one of them: the pair does its work apart."""
    torch.manual_seed(0)
    net = models.ds_resnet(8, channels=(2, 4, 6), inputs=2).double()
    seen = {}
    for watched in (net[1], net[2], net[3].branch, net[3].neuron):
        for kind in ("none", "norms"):
            snn = SNN(copy.deepcopy(net), 4, fusion=kind).eval()
            module = dict(snn.net.named_modules())[next(n for n, m in net.named_modules() if m is watched)]
            module.register_forward_hook(lambda m, i, o, kind=kind: seen.update({kind: (i[0], o)}))
            snn(batch())
        for a, b in zip(seen["none"], seen["norms"], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


def test_modules_work_alone_after_a_call_and_after_an_error():
    snn = SNN(small(), 4).eval()
    x = torch.randn(20, 6, 6, 6, dtype=torch.float64)
    expected = snn.net[1](x)
    snn(batch())
    assert torch.equal(snn.net[1](x), expected) and not torch.equal(expected, x)
    with pytest.raises(RuntimeError):
        snn(torch.randn(5, 3, 6, 6, dtype=torch.float64))
    assert torch.equal(snn.net[1](x), expected)
    bn = SNN(small(nn.BatchNorm2d(6)), 4).eval()
    bn(batch())
    assert not torch.equal(bn.net[1](x), x)


def test_changed_modules_are_seen():
    snn = SNN(small(), 4)
    snn(batch())
    assert len(snn.pairs()[0]) == 2
    snn.net[2] = nn.ReLU()
    snn(batch())
    assert names(snn) == [("4", "5")]


def test_the_reference_backend_normalises_first(monkeypatch):
    torch.manual_seed(0)
    net = small()
    fast = trained(SNN(copy.deepcopy(net), 4), batch())
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    slow = trained(SNN(net, 4), batch())
    for a, b in zip((fast[0], *fast[1], *fast[2]), (slow[0], *slow[1], *slow[2]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_norm_in_another_precision_runs_apart(monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BACKEND", "auto")
    net = nn.Sequential(TdBN(3).double(), LIF().double())
    snn = SNN(net, 2)
    x = torch.randn(4, 3, dtype=torch.float64)
    assert torch.equal(snn(x), SNN(copy.deepcopy(net), 2, fusion="none")(x))


def test_bf16_statistics_are_those_of_the_stored_numbers():
    """y = (x - mean)/std of bf16 x with float32 arithmetic, fired once: written out in float64."""
    torch.manual_seed(0)
    norm, neuron = TdBN(3, threshold=0.5), LIF()
    snn = SNN(nn.Sequential(norm, neuron), 1).train()
    x = torch.randn(1000, 3).to(torch.bfloat16)
    wide = x.double()
    z = 0.5 * (wide - wide.mean(0)) / (wide.var(0, correction=0) + 1e-5).sqrt()
    clear = (z - 0.5).abs() > 1e-5
    assert torch.equal(snn(x)[0].double()[clear], (z > 0.5).double()[clear]) and clear.sum() > 2990
    torch.testing.assert_close(norm.running_mean, wide.mean(0).float() * 0.1)
    torch.testing.assert_close(norm.running_var, 0.9 + wide.var(0).float() * 0.1)


def test_pairs_of_nothing():
    net = nn.Sequential(nn.Linear(2, 2))
    assert fuse.pairs(net, fuse.traced(net)[0]) == [] and fuse.pairs(net, None) == []


@pytest.mark.parametrize(("norm", "x", "match"), [
    (nn.BatchNorm1d(3), (4, 5), "running_mean should contain 5 elements not 3|weight should contain 5 elements not 3"),
    (nn.BatchNorm1d(3), (1, 3), "more than 1 value per channel"),
    (TdBN(3), (4, 5), r"TdBN input: got \[4, 5\]"),
])  # fmt: skip
def test_input_that_the_norm_refuses(norm, x, match):
    snn = SNN(nn.Sequential(norm, LIF()), x[0] // 2 or 1).train()
    assert len(snn.pairs()[0]) == 1
    with pytest.raises((RuntimeError, ValueError), match=match):
        snn.encoder = None
        snn(torch.randn(snn.steps, x[0] // snn.steps, x[1]))
