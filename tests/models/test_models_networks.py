"""The papers' networks: parameter counts (METHODS A.3, B.4, C.3, torchvision's for ResNets), shapes, starts, identities."""

import pytest
import torch
from torch import nn

from spikeloom import IF, LIF, MLF, PLIF, SNN, models
from spikeloom.core.errors import ParameterError
from spikeloom.nn import blocks
from spikeloom.nn.activations import QCFS
from spikeloom.nn.norms import TdBN
from spikeloom.timing import TimingLayer


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    "name, count",
    [
        ("stbp_cnn", 211_690), ("ds_resnet14", 2_777_674), ("ds_resnet20", 4_327_754), ("ds_resnet32", 7_427_914),
        ("ds_resnet44", 10_528_074), ("ds_resnet68", 16_728_394), ("ds_resnet20_gesture", 272_395),
        ("ds_resnet14_cifar10dvs", 696_330), ("sew_7b", 130_426), ("sew_wide_7b", 1_192_218),
    ],
)  # fmt: skip
def test_published_counts(name, count):
    assert parameters(models.known[name]()) == count


@pytest.mark.parametrize(
    "depth, count", [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)]
)
def test_sew_resnets_have_torchvisions_counts(depth, count, monkeypatch):
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda *args, **options: None)
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda *args, **options: None)
    assert parameters(models.sew_resnet(depth)) == count
    if depth < 50:
        assert parameters(models.spiking_resnet(depth)) == count


def test_counts_by_hand():
    assert parameters(models.stbp_mlp()) == 784 * 800 + 800 + 800 * 10 + 10
    # 3x3 convolutions and 1x1 shortcuts without bias, two numbers per channel and norm
    widths = [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 2 + [(256, 512), (512, 512)]
    stem = 3 * 128 * 9 + 2 * 128
    body = sum(9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if a != b else 0) for a, b in widths)
    assert parameters(models.tdbn_resnet19()) == stem + body + 512 * 256 + 256 + 256 * 10 + 10
    assert parameters(models.relpsp_mlp()) == 784 * 800 + 800 * 10
    assert parameters(models.relpsp_cnn()) == 16 * 25 + 32 * 16 * 25 + 512 * 800 + 800 * 128 + 128 * 10
    assert parameters(models.tdbn_resnet19(stem=64)) < parameters(models.tdbn_resnet19())


def test_plain_and_ds_networks_have_equal_counts():
    options = {"channels": (8, 16, 32)}
    assert parameters(models.ds_resnet(14, block="plain", **options)) == parameters(models.ds_resnet(14, **options))


SMALL = {
    "stbp_cnn": ({"size": 8}, (1, 8, 8), 10),
    "stbp_mlp": ({"features": 20, "hidden": 6, "classes": 4}, (1, 4, 5), 4),
    "ds_resnet": ({"depth": 8, "channels": (4, 8, 16)}, (3, 8, 8), 10),
    "ds_resnet20_gesture": ({"channels": (2, 4, 8)}, (2, 8, 8), 11),
    "ds_resnet14_cifar10dvs": ({"channels": (2, 4, 8)}, (2, 42, 42), 10),
    "sew_resnet": ({"depth": 18, "classes": 7}, (3, 32, 32), 7),
    "spiking_resnet": ({"depth": 18, "classes": 7}, (3, 32, 32), 7),
    "sew_net": ({"stages": ((4, 2), (8, 1)), "size": 8}, (2, 8, 8), 10),
    "sew_7b": ({}, (2, 128, 128), 11),
    "mlf_vgg16": ({}, (3, 32, 32), 10),
    "tdbn_resnet19": ({}, (3, 16, 16), 10),
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_forward_and_backward(name):
    options, shape, classes = SMALL[name]
    snn = SNN(models.known[name](**options), steps=2)
    outputs = snn(torch.rand(2, *shape))
    assert outputs.shape == (2, 2, classes)
    outputs.sum().backward()
    grads = [p.grad for p in snn.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


@pytest.mark.parametrize(
    "name, options, shape, neurons",
    [
        ("relpsp_mlp", {"features": 20, "hidden": 6, "classes": 4}, (1, 4, 5), 2),
        ("relpsp_cnn", {"size": 18, "channels": (2, 3), "hidden": (8, 5), "classes": 4}, (1, 18, 18), 5),
    ],
)
def test_networks_of_spike_times(name, options, shape, neurons):
    net = models.known[name](**options)
    snn = SNN(net, 1, "first_spike")
    outputs = snn(torch.rand(3, *shape))
    assert outputs.shape == (1, 3, 4)
    outputs.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in snn.parameters())
    assert len(units(net, TimingLayer)) == neurons
    assert {(m.threshold, m.silent) for m in units(net, TimingLayer)} == {(1.0, "push")}


def units(net, kind):
    return [m for m in net.modules() if isinstance(m, kind)]


def test_constants_of_the_papers():
    mlf = units(models.ds_resnet(8, channels=(2, 4, 8)), MLF)
    assert {(m.levels, *(round(v.item(), 6) for v in (m.decay, m.threshold, m.spacing)), repr(m.surrogate)) for m in mlf} == {
        (3, 0.25, 0.6, 1.0, "Rectangle(width=1)")
    }
    norms = units(models.ds_resnet(8, channels=(2, 4, 8)), TdBN)
    assert {(round(m.scale, 6), m.epsilon) for m in norms} == {(0.6, "outside")}
    lif = units(models.stbp_cnn(size=8), LIF)
    assert {(round(m.decay.item(), 6), m.threshold.item(), m.fires, m.reset_gradient) for m in lif} == {(0.2, 0.5, "above", "through")}
    neurons = units(models.sew_resnet(18, classes=2), IF)
    assert {(m.threshold.item(), repr(m.surrogate), m.reset_gradient) for m in neurons} == {(1.0, "ATan(alpha=2)", "detached")}
    plif = units(models.sew_7b(), PLIF)
    assert {(m.values()["leak"].item(), m.reset_gradient) for m in plif} == {(0.5, "detached")}
    assert len(plif) == 15


def test_tdbn_resnets_last_norms_are_scaled_for_the_sum():
    scales = [round(m.scale, 6) for m in units(models.tdbn_resnet19(), TdBN)]
    # stem and 8 first norms in a chain; 8 last norms and 2 shortcuts before a sum
    assert sorted(scales) == [0.353553] * 10 + [0.5] * 9


def test_gesture_network_normalises_its_events_without_weights():
    first = models.ds_resnet20_gesture(channels=(2, 4, 8))[0]
    assert isinstance(first, TdBN)
    assert first.weight is None


def same_shape_blocks(net):
    return [(name, m) for name, m in net.named_modules() if isinstance(m, blocks.Residual) and not len(m.skip)]


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
@pytest.mark.parametrize("make", ["sew_resnet", "sew_net"])
def test_zero_residual_blocks_start_as_the_identity(make, connect):
    options = {"depth": 18, "classes": 2} if make == "sew_resnet" else {"stages": ((4, 2),), "size": 8}
    net = models.known[make](**options, connect=connect, start="zero_residual")
    snn = SNN(net, steps=2)
    found = same_shape_blocks(net)
    assert found
    for name, block in found:
        x = torch.randint(0, 2, (4, block.branch[0].in_channels, 4, 4)).float()
        if make == "sew_net" and connect == "and":
            # a PLIF at tau = 2 reaches 1 only in the limit of a constant current of 1: the branch cannot hold A = 1
            continue
        assert torch.equal(block(x), x), name
    assert snn.steps == 2


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: models.ds_resnet(21), r"ds_resnet.depth: got 21; must be 6n \+ 2: 8, 14, 20"),
        (lambda: models.ds_resnet(2), "ds_resnet.depth: got 2"),
        (lambda: models.ds_resnet(8, block="sew"), "ds_resnet.block: got 'sew'; must be one of 'ds', 'plain'"),
        (lambda: models.ds_resnet(8, input_norm="bn"), "ds_resnet.input_norm: got 'bn'; must be one of 'none', 'tdbn'"),
        (lambda: models.sew_resnet(20), r"sew_resnet.depth: got 20; must be one of \[18, 34, 50, 101, 152\]"),
        (lambda: models.sew_resnet(18, block="ds"), "sew_resnet.block: got 'ds'; must be one of 'sew', 'plain'"),
        (lambda: models.sew_resnet(18, start="zero"), "sew_resnet.start: got 'zero'; must be one of 'default', 'zero_residual'"),
        (lambda: models.sew_net(((4, 1),), block="ds"), "sew_net.block: got 'ds'; must be one of 'sew', 'plain'"),
        (lambda: models.sew_net(((4, 1),), start="zero"), "sew_net.start: got 'zero'; must be one of 'zero_residual', 'default'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        # 12 * 25 + 64 * 12 * 25 + 10 * 1024
        ("diehl2015_cnn", (1, 28, 28), 29_740),
        # 32 * 9 + 32 + 64 * 32 * 9 + 64 + 3136 * 128 + 128 + 1280 + 10
        ("ann_cnn", (1, 28, 28), 421_642),
        # 9 (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256) + 2 * 896 + 1024 * 10 + 10
        ("ann_vgg", (3, 32, 32), 1_156_554),
        # stem, two 3x3 convolutions and norms a block, 1x1 shortcuts where the width changes, the last layer
        (
            "ann_resnet", (3, 32, 32), 3 * 32 * 9 + 64 + 128 * 10 + 10 + sum(
                9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if a != b else 0)
                for a, b in [(32, 32)] * 3 + [(32, 64)] + [(64, 64)] * 2 + [(64, 128)] + [(128, 128)] * 2
            ),
        ),
    ],
)  # fmt: skip
def test_networks_to_convert(name, shape, count):
    net = models.known[name]()
    assert parameters(net) == count
    assert net(torch.rand(2, *shape)).shape == (2, 10)
    if name != "diehl2015_cnn":
        kinds = {type(m) for m in models.known[name](activation="qcfs", levels=8).modules()}
        assert QCFS in kinds and torch.nn.ReLU not in kinds
