"""Residual blocks: truth tables, identities and gradients of METHODS B.3, B.6.5, C.1 to C.3."""

import pytest
import torch
from torch import nn

from spikeloom import IF, LIF, MLF
from spikeloom.core.errors import ParameterError
from spikeloom.nn.blocks import DS, SEW, Plain, Residual
from spikeloom.nn.norms import TdBN

A, S = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])


def batchnorm(channels, added=1):
    return nn.BatchNorm2d(channels)


def tdbn(channels, added=1):
    return TdBN(channels, threshold=0.6, alpha=added**-0.5)


def spiking(make, steps=1):
    def neuron():
        made = make()
        made.steps = steps
        return made

    return neuron


def constant_branch(block, value):
    """The block with its branch's current set to `value`."""
    nn.init.zeros_(block.last_norm.weight)
    nn.init.constant_(block.last_norm.bias, value)
    return block


def binary(*shape):
    return torch.randint(0, 2, shape).float()


@pytest.mark.parametrize("connect, table", [("add", [0, 1, 1, 2]), ("and", [0, 0, 0, 1]), ("iand", [0, 1, 0, 0])])
def test_sew_truth_table(connect, table):
    for a, s, expected in zip(A.tolist(), S.tolist(), table, strict=True):
        block = constant_branch(SEW(2, 2, connect=connect, neuron=spiking(IF), norm=batchnorm), a)
        assert (block(torch.full((3, 2, 4, 4), s)) == expected).all()


@pytest.mark.parametrize("connect, current", [("add", 0.0), ("iand", 0.0), ("and", 1.0)])
@pytest.mark.parametrize("depth", [1, 2, 7, 20])
def test_sew_identity_and_unit_gradient_at_any_depth(connect, current, depth):
    # at or above: a current of exactly 1 fires at every step
    steps, neuron = 3, spiking(IF, 3)
    chain = nn.Sequential(*[constant_branch(SEW(2, 2, connect=connect, neuron=neuron, norm=batchnorm), current) for _ in range(depth)])
    x = binary(steps * 2, 2, 3, 3).requires_grad_()
    y = chain(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("depth", [1, 2, 7, 20])
def test_ds_identity_and_unit_gradient_at_any_depth(depth):
    chain = nn.Sequential(*[constant_branch(DS(2, 2, neuron=spiking(MLF, 2), norm=tdbn), 0.0) for _ in range(depth)])
    x = torch.rand(4, 2, 3, 3).requires_grad_()
    y = chain(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("levels", [1, 3])
def test_ds_values_add_up(levels):
    """After m identity-shaped blocks whose units emit all they can, values reach (m + 1) K."""
    chain = nn.Sequential(*[constant_branch(DS(2, 2, neuron=spiking(lambda: MLF(levels=levels)), norm=tdbn), 9.0) for _ in range(4)])
    assert (chain(torch.full((1, 2, 3, 3), float(levels))) == 5 * levels).all()


@pytest.mark.parametrize("threshold", [0.25, 0.5, 1.0])
def test_plain_block_is_the_identity_with_if(threshold):
    block = constant_branch(Plain(2, 2, neuron=spiking(lambda: IF(threshold=threshold), 5), norm=batchnorm), 0.0)
    x = binary(10, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_plain_block_is_not_the_identity_with_lif():
    block = constant_branch(Plain(2, 2, neuron=spiking(lambda: LIF(tau=2.0, threshold=1.0, fires="at_or_above"), 5), norm=batchnorm), 0.0)
    assert not block(binary(10, 2, 4, 4)).any()


@pytest.mark.parametrize("threshold, spike, printed", [(1.0, 0.0, 4.34e-11), (0.5, 0.0, 3.98e-6), (0.5, 1.0, 3.98e-6), (1.0, 1.0, 1.0)])
def test_gradient_through_ten_plain_identity_blocks(threshold, spike, printed, float64):
    neuron = spiking(lambda: IF(threshold=threshold))
    chain = nn.Sequential(*[constant_branch(Plain(1, 1, neuron=neuron, norm=batchnorm), 0.0) for _ in range(10)])
    x = torch.full((1, 1, 2, 2), spike, requires_grad=True)
    chain(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, printed), rtol=2e-3, atol=0)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_sew_add_reaches_at_most_depth_plus_one_and_two_after_a_firing_shortcut(depth):
    chain = [SEW(2, 2, neuron=spiking(IF), norm=batchnorm) for _ in range(depth)]
    x = binary(8, 2, 4, 4)
    y = nn.Sequential(*chain)(x)
    assert torch.equal(y, y.round())
    assert y.max() <= depth + 1
    assert SEW(2, 4, stride=2, neuron=spiking(IF), norm=batchnorm)(y).max() <= 2


def kinds(modules):
    return [type(module).__name__ for module in modules]


@pytest.mark.parametrize("block, ends", [(SEW, ["IF"]), (DS, ["IF"]), (Plain, [])])
def test_shortcuts(block, ends):
    assert kinds(block(2, 2, neuron=IF, norm=batchnorm).skip) == []
    for change in ({"outputs": 4}, {"outputs": 2, "stride": 2}):
        made = block(2, **change, neuron=spiking(IF), norm=batchnorm)
        assert kinds(made.skip) == ["Conv2d", "BatchNorm2d", *ends]
        stride = change.get("stride", 1)
        assert made(binary(3, 2, 8, 8)).shape == (3, change["outputs"], 8 // stride, 8 // stride)


def test_branches():
    basic, bottleneck = (SEW(8, 16, stride=2, neuron=spiking(IF), norm=batchnorm, branch=b) for b in ("basic", "bottleneck"))
    assert kinds(basic.branch) == ["Conv2d", "BatchNorm2d", "IF", "Conv2d", "BatchNorm2d"]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in bottleneck.branch if isinstance(m, nn.Conv2d)]
    assert shapes == [(8, 4, 1, 1), (4, 4, 3, 2), (4, 16, 1, 1)]
    for block in (basic, bottleneck):
        assert block(binary(2, 8, 6, 6)).shape == (2, 16, 3, 3)
        assert block.last_norm.num_features == 16


def test_norms_learn_how_many_branches_meet_before_the_neuron():
    """Plain adds two branches before its neuron: alpha = 1/sqrt(2) for both last norms; in DS and SEW each neuron has one."""
    scales = {block: [m.scale for m in block(2, 4, neuron=IF, norm=tdbn).modules() if isinstance(m, TdBN)] for block in (Plain, DS, SEW)}
    assert scales[Plain] == pytest.approx([0.6, 0.6 / 2**0.5, 0.6 / 2**0.5])
    assert scales[DS] == scales[SEW] == pytest.approx([0.6, 0.6, 0.6])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: SEW(2, 2, neuron=IF, norm=batchnorm, connect="or"), "SEW.connect: got 'or'; must be one of 'add', 'and', 'iand'"),
        (lambda: DS(2, 2, neuron=IF, norm=batchnorm, branch="wide"), "Residual.branch: got 'wide'; must be one of 'basic', 'bottleneck'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_a_block_that_does_not_say_how_it_joins():
    with pytest.raises(NotImplementedError):
        Residual(2, 2, neuron=IF, norm=batchnorm)(torch.zeros(1, 2, 4, 4))
