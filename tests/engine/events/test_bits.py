"""Bits: the layout by hand, compiled against torch, every stride and type, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.engine import bits as module
from spikeloom.engine import cache
from spikeloom.engine.bits import Bits, pack, unpack


def numbers(shape, planes=1, signed=False, density=0.5):
    high = 2**planes
    return torch.randint(1 - high if signed else 0, high, shape) * (torch.rand(shape) < density)


def test_the_layout_by_hand():
    x = torch.zeros(1, 66, 1, 2)
    x[0, 0, 0, 0] = 1  # value 1: plane 0
    x[0, 65, 0, 0] = -2  # plane 1, and the sign
    x[0, 3, 0, 1] = 3
    words = pack(x, planes=2, signed=True).words
    assert words.shape == (3, 1, 1, 2, 2)
    assert words[0, 0, 0].tolist() == [[1, 0], [8, 0]]
    assert words[1, 0, 0].tolist() == [[0, 2], [8, 0]]
    assert words[2, 0, 0].tolist() == [[0, 2], [0, 0]]


def test_bit_63_is_the_sign_of_its_word():
    x = torch.zeros(1, 64)
    x[0, 63] = 1
    assert pack(x).words.tolist() == [[[-(2**63)]]]
    assert torch.equal(unpack(pack(x)), x)


@given(
    st.integers(1, 3), st.integers(1, 140), st.integers(1, 70), st.integers(1, 7), st.booleans(), st.sampled_from([0, 0.1, 1]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int8]), st.sampled_from(["first", "last", "slice", "turned", "flat"]),
)  # fmt: skip
def test_compiled_as_torch(n, channels, width, planes, signed, density, dtype, order):
    x = numbers((n, channels, 3, width), planes, signed, density).to(dtype)
    if order == "flat":
        x = x[:, :, 0, 0]
    elif order == "last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif order == "slice":
        x = torch.cat([x, x], 3)[..., 1 : width + 1].contiguous()[:, :, ::2]
    elif order == "turned":
        x = x.transpose(2, 3)
    packed = pack(x, planes, signed)
    words, sound = module._pack_reference(x, planes, signed)
    assert sound and torch.equal(packed.words, words)
    assert packed.shape == x.shape
    assert torch.equal(unpack(packed, dtype), x) and torch.equal(module._unpack_reference(packed).movedim(-1, 1), x)
    assert packed.events() == sum(int((x.int().abs() >> p & 1).sum()) for p in range(planes)) == int(module._ones(words[:planes]).sum())


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(module, "_function", lambda name, x: None)
    x = numbers((2, 70, 3, 5), 3, True).float()
    packed = pack(x, 3, True)
    assert torch.equal(unpack(packed), x) and packed.density() == packed.events() / x.numel()
    with pytest.raises(ParameterError, match=r"pack: got 0\.5; must be a whole number from 0 to 1"):
        pack(torch.tensor([[1.0, 0.5]]))


def test_no_compiler_is_found(monkeypatch):
    def missing(name):
        raise cache.CannotCompile("none")

    monkeypatch.setattr(module, "_compiled", missing)
    assert pack(torch.ones(1, 2)).words.tolist() == [[[3]]]


def test_nothing_at_all():
    x = torch.zeros(0, 5, 2, 2)
    assert pack(x).words.shape == (1, 0, 2, 2, 1) and unpack(pack(x)).shape == x.shape and pack(x).density() == 0


def test_threads_do_not_change_a_bit():
    x = numbers((64, 64, 32, 32)).float()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(pack(x))
    assert torch.equal(found[0].words, found[1].words) and torch.equal(unpack(found[0]), x) and found[0].events() == int(x.sum())


STRANGE = [
    (0.5, {}), (2, {}), (-1, {}), (4, {"planes": 2}), (float("nan"), {"planes": 7}), (256, {"planes": 7}), (-2, {"signed": True}),
    (float("inf"), {"planes": 3}),
]  # fmt: skip


@pytest.mark.parametrize("value, options", STRANGE)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_other_numbers_are_refused(value, options, order):
    x = torch.zeros(2, 66, 3, 3).contiguous(memory_format=order)
    x[1, 65, 2, 2] = value
    with pytest.raises(ParameterError, match=rf"pack: got {float(value)}; must be a whole number from .* give more planes"):
        pack(x, **options)


def test_refusals():
    with pytest.raises(ShapeError, match=r"pack: got 'torch\.float64 \[2, 3\]'; must be float32, bfloat16 or int8"):
        pack(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"pack: .*\[3\]"):
        pack(torch.zeros(3))
    with pytest.raises(ParameterError, match=r"pack planes: got 8; must be a whole number from 1 to 7"):
        pack(torch.zeros(2, 3), planes=8)
    with pytest.raises(ParameterError, match=r"unpack dtype: got torch\.int32; must be float32, bfloat16 or int8"):
        unpack(pack(torch.zeros(2, 3)), torch.int32)
    with pytest.raises(ShapeError, match=r"words: .*\[2, 4, 1\].* must be int64 of shape \[1, N, 1\]"):
        Bits(torch.zeros(2, 4, 1, dtype=torch.int64), 3)
