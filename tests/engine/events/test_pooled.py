"""Max-pools of spikes on bits against torch's: values, gradients and windows, bit for bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from spikeloom.core.errors import SpikeloomError
from spikeloom.engine import emitted
from spikeloom.engine.bits import pack, unpack
from spikeloom.engine.events import largest

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


def emits(values, window=None, planes=3):
    """A leaf, and what an operation that emits would make of it."""
    leaf = values.contiguous(memory_format=torch.channels_last).requires_grad_()
    x = leaf.clone()
    emitted.put(x, pack(values, planes), None if window is None else pack(window))
    return leaf, x


@given(
    st.tuples(st.integers(1, 3), st.sampled_from([1, 3, 17, 64, 70, 130]), st.integers(4, 9), st.integers(4, 9)), pairs, pairs, st.data(),
    st.sampled_from([1, 2, 7]), st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)  # fmt: skip
def test_as_torch_does(shape, kernel, stride, data, top, density):
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    stride = data.draw(st.sampled_from([kernel, stride]))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    values = (torch.rand(shape, generator=random) < density) * torch.randint(1, top + 1, shape, generator=random).float()
    window = (torch.rand(shape, generator=random) < 0.4).float()
    leaf, x = emits(values, window)
    y = largest(x, kernel, stride, padding)
    dense, index = F.max_pool2d(leaf, kernel, stride, padding, return_indices=True)
    assert torch.equal(y, dense) and torch.equal(unpack(emitted.of(y).spikes), dense)
    assert torch.equal(unpack(emitted.of(y).window), window.flatten(2).gather(2, index.flatten(2)).view_as(y))
    grad = torch.randn(y.shape, generator=random)
    ours, plain = (torch.autograd.grad(out, leaf, grad, retain_graph=True)[0] for out in (y, dense))
    assert torch.equal(ours, plain)
    assert torch.equal(torch.autograd.grad(y, leaf, grad.contiguous(memory_format=torch.channels_last))[0], plain)


def test_many_images_on_two_threads():
    values = (torch.rand(64, 128, 32, 16) < 0.2).float()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf, x = emits(values, planes=1)
        y = largest(x, (3, 3), (2, 2), (1, 1))
        y.backward(torch.arange(float(y.numel())).view_as(y))
        found.append((y.detach(), leaf.grad))
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_gradient_that_is_no_number_stays_where_it_is():
    leaf, x = emits(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]))
    largest(x, (2, 2), (2, 2)).backward(torch.full((1, 1, 1, 1), torch.nan))
    assert leaf.grad.isnan().tolist() == [[[[False, True], [False, False]]]] and leaf.grad.nansum() == 0


def test_what_is_not_known_is_torchs():
    _, x = emits(torch.ones(1, 2, 4, 4))
    assert emitted.of(largest(x * 1, (2, 2), (2, 2))) is None
    with torch.no_grad():
        x.mul_(0.5)
    y = largest(x, (2, 2), (2, 2))
    assert emitted.of(y) is None and torch.equal(y, torch.full((1, 2, 2, 2), 0.5))


def test_no_second_derivatives():
    leaf, x = emits(torch.ones(1, 2, 4, 4))
    with pytest.raises(SpikeloomError, match="a pool of bits has no second derivatives"):
        torch.autograd.grad(largest(x, (2, 2), (2, 2)).sum(), leaf, create_graph=True)
