"""Spikes kept in bits between the passes."""

import copy

import pytest
import torch
from torch import nn

from spikeloom import LIF, MLF, SNN
from spikeloom.core.errors import ParameterError
from spikeloom.engine import packing
from spikeloom.nn import memory


@pytest.mark.parametrize("top", [0, 1, 2, 3, 4, 15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(4096,), (5000,), (3, 5, 37, 11), (4097, 1)], ids=str)
def test_whole_numbers_come_back(shape, dtype, top):
    x = torch.randint(0, top + 1, shape).to(dtype)
    x.view(-1)[0] = top
    if x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    packed = memory.pack(x)
    bits = 1 if top < 2 else 2 if top < 4 else 4
    assert packed.bits == bits and packed.code.numel() == -(-x.numel() * bits // 8)
    back = memory.unpack(packed)
    assert torch.equal(back, x) and back.dtype == dtype and back.stride() == x.stride()


OTHER = {
    "small": torch.zeros(4095), "fraction": torch.full((5000,), 0.5), "negative": torch.full((5000,), -1.0),
    "large": torch.full((5000,), 16.0), "nan": torch.full((5000,), float("nan")), "inf": torch.full((5000,), float("inf")),
    "minus zero": torch.full((5000,), -0.0), "integers": torch.zeros(5000, dtype=torch.int64), "gaps": torch.zeros(5000, 2)[:, 0],
    "parameter": nn.Parameter(torch.zeros(5000)), "last": torch.cat([torch.zeros(5000), torch.tensor([0.25])]),
    "expanded": torch.zeros(1).expand(5000),
}  # fmt: skip


@pytest.mark.parametrize("x", OTHER.values(), ids=OTHER)
def test_anything_else_is_kept_as_it_is(x):
    assert memory.pack(x) is x and memory.unpack(x) is x


def net():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), LIF(), nn.Conv2d(8, 8, 3, padding=1), MLF(), nn.AvgPool2d(2), nn.Conv2d(8, 4, 3), LIF(),
        nn.Flatten(), nn.Linear(144, 3),
    )  # fmt: skip


def test_gradients_are_bit_equal():
    torch.manual_seed(0)
    plain = SNN(net(), 4)
    packed = SNN(copy.deepcopy(plain.net), 4, memory="packed")
    x = torch.randn(8, 2, 16, 16) * 2
    for snn in (plain, packed):
        snn(x).sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), packed.parameters(), strict=True))


def test_what_is_packed(monkeypatch):
    """The spikes before a convolution in 1 bit, those of MLF in 2; the input image and the sums of a pool stay."""
    torch.manual_seed(0)
    made = []
    original = memory.pack
    monkeypatch.setattr(memory, "pack", lambda x: made.append((x, original(x))) or made[-1][1])
    SNN(net(), 4, memory="packed")(torch.randn(8, 2, 16, 16) * 2)
    packed = [(tuple(x.shape), p.bits) for x, p in made if isinstance(p, memory.Packed)]
    assert ((32, 8, 16, 16), 1) in packed and any(bits == 2 for _, bits in packed)
    assert not any(shape == (32, 2, 16, 16) for shape, _ in packed)


def test_an_unknown_memory_is_refused():
    with pytest.raises(ParameterError, match=r"SNN\.memory: got 'tiny'; must be one of 'plain', 'packed'"):
        SNN(net(), 4, memory="tiny")
    with pytest.raises(ParameterError, match=r"SNN\.fusion: got 'all'; must be one of 'norms', 'none'"):
        SNN(net(), 4, fusion="all")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_without_a_compiler_the_same_bytes(monkeypatch, bits):
    x = torch.randint(0, 2**bits, (10_007,)).float()
    codes = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(packing, "_compiled", lambda x: False)
        codes.append(packing.pack(x, bits))
        back = torch.full_like(x, float("nan"))
        packing.unpack(codes[-1], bits, back)
        assert torch.equal(back, x) and packing.levels(x) == 2**bits - 1
        assert all(packing.levels(bad) is None for bad in OTHER.values() if bad.is_floating_point() and bad.numel() and bad.max() != 0)
    assert torch.equal(*codes)
