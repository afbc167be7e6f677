"""The gradient of an input by products of digits, against float64 and the bound that is stated; what is exact; when it is taken."""

import copy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from spikeloom import LIF, SNN
from spikeloom.engine import events
from spikeloom.engine.events import conv, digits, tiles

ORDERS = st.sampled_from([torch.contiguous_format, torch.channels_last])
pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
pytestmark = pytest.mark.skipif(tiles.state() == 2, reason="the system refuses matrix tiles")


def truth(shape, grad, weight, padding):
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(F.conv2d(x, weight.double(), None, 1, padding), x, grad.double())[0]


def bounds(shape, grad, weight, padding):
    """The largest gradient of each image times the largest weight to each input, and the number of terms."""
    terms = truth(shape, torch.ones_like(grad), torch.ones_like(weight), padding)
    most = grad.double().abs().amax((1, 2, 3))[:, None] * weight.double().abs().amax((0, 2, 3))
    return most[:, :, None, None], terms


@given(
    st.integers(1, 9), st.sampled_from([1, 5, 16, 33, 64, 130]), st.sampled_from([1, 3, 16, 17, 32, 33, 64, 70, 130]), pair(1, 20),
    st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (2, 3), (4, 1), (1, 8)]), pair(0, 3), ORDERS, ORDERS,
)  # fmt: skip
def test_conv2d(n, inputs, outputs, size, kernel, padding, order, other):
    assume(all(d + 2 * p >= k > p for d, p, k in zip(size, padding, kernel, strict=True)) and n * inputs * outputs < 20000)
    weight = torch.randn(outputs, inputs, *kernel).contiguous(memory_format=other)
    shape = (n, inputs, *size)
    grad = torch.randn_like(F.conv2d(torch.zeros(shape), weight, None, 1, padding)).contiguous(memory_format=order)
    grad[0] *= 1e-20  # an image of its own size
    found, wanted = digits.conv2d_input(grad, weight, padding, size), truth(shape, grad, weight, padding)
    most, terms = bounds(shape, grad, weight, padding)
    assert found.shape == shape and found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    assert ((found - wanted).abs() <= 2**-20 * terms * most).all()


@pytest.mark.parametrize("inputs, outputs, size", [(64, 64, 16), (16, 130, 8), (40, 20, 20)])
def test_errors_average_out(inputs, outputs, size):
    """Of normal numbers, about 2^-24 times the root of the number of terms; half as many digits would give 2^-16."""
    grad, weight = torch.randn(4, outputs, size, size), torch.randn(outputs, inputs, 3, 3)
    shape = (4, inputs, size, size)
    off = digits.conv2d_input(grad, weight, (1, 1), (size, size)) - truth(shape, grad, weight, (1, 1))
    most, terms = bounds(shape, grad, weight, (1, 1))
    assert (off / most).square().mean() <= 2.0**-46 * terms.mean()


@pytest.mark.parametrize("size", [(5, 6), (9, 30), (4, 4)])
def test_short_numbers_are_exact(size):
    """7 bits of each are their highest digits, of which nothing is dropped."""
    grad, weight = torch.randint(-63, 64, (5, 70, *size)).float() / 8, torch.randint(-63, 64, (70, 40, 3, 3)).float() * 2
    wanted = truth((5, 40, *size), grad, weight, (1, 1))
    assert torch.equal(digits.conv2d_input(grad, weight, (1, 1), size).double(), wanted)


@pytest.mark.parametrize("size", [(9, 7), (20, 33)])
def test_threads_and_pieces_do_not_change_a_bit(size, monkeypatch):
    grad, weight = torch.randn(8, 64, *size), torch.randn(64, 48, 3, 3)
    found = []
    for threads, piece in ((1, 1 << 19), (2, 1 << 19), (2, 1 << 10), (1, 1 << 15)):
        monkeypatch.setattr(digits, "PIECE", piece)
        torch.set_num_threads(threads)
        found.append(digits.conv2d_input(grad, weight, (1, 1), size))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_all_of_new_memory_is_written(monkeypatch):
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: plain(*a, **k).fill_(85 if "dtype" in k else float("nan")))
    grad, weight = torch.randn(3, 20, 6, 17), torch.randn(20, 19, 3, 3)
    found = digits.conv2d_input(grad, weight, (0, 1), (8, 17))
    torch.testing.assert_close(found.double(), truth((3, 19, 8, 17), grad, weight, (0, 1)), atol=1e-4, rtol=1e-4)


def test_what_is_no_number_stays_none_and_in_its_image():
    grad, weight = torch.randn(4, 16, 8, 8), torch.randn(16, 16, 3, 3)
    grad[1, 0, 0, 0], grad[2, 3, 4, 5], grad[3] = torch.nan, torch.inf, 0
    found = digits.conv2d_input(grad, weight, (1, 1), (8, 8))
    assert found[1:3].isnan().all() and found[0].isfinite().all() and torch.equal(found[3], torch.zeros(16, 8, 8))


def test_without_outputs():
    assert torch.equal(digits.conv2d_input(torch.zeros(2, 0, 5, 5), torch.zeros(0, 8, 1, 1), (0, 0), (5, 5)), torch.zeros(2, 8, 5, 5))


@pytest.mark.parametrize("state, stride, padding, way", [(1, 1, 1, "tile"), (0, 1, 1, "dense"), (1, 2, 1, "dense"), (1, 1, 3, "dense")])
def test_a_layer_takes_them_where_there_are_tiles(state, stride, padding, way, monkeypatch):
    monkeypatch.setattr(tiles, "state", lambda: state)
    for cached in (conv._geometry, events.layer.__globals__["_call"]):
        cached.cache_clear()
    x = (torch.rand(4, 64, 32, 32) < 0.05).float().requires_grad_()
    weight = torch.randn(64, 64, 3, 3)
    y, taken = events.layer(x, weight, None, events.Geometry((stride, stride), (padding, padding)))
    assert taken.pulled == way
    grad = torch.randn_like(y)
    wanted = torch.autograd.grad(F.conv2d(x.double(), weight.double(), None, stride, padding), x, grad.double())[0]
    most, terms = bounds(x.shape, grad, weight, padding) if way == "tile" else (16, 576)
    assert ((torch.autograd.grad(y, x, grad)[0] - wanted).abs() <= 2**-20 * terms * most).all()
    for cached in (conv._geometry, events.layer.__globals__["_call"]):
        cached.cache_clear()


def test_a_network_trains_by_them(tmp_path, monkeypatch):
    """Alone, distributed and recomputed alike, bit for bit, and as a dense one does: weights are such that its currents are exact."""
    monkeypatch.setattr(tiles, "state", lambda: 1)
    conv._geometry.cache_clear()
    events.layer.__globals__["_call"].cache_clear()
    layers = [(nn.Conv2d(inputs, 64, 3, padding=1, bias=False), LIF(decay=0.5, threshold=0.75)) for inputs in (2, 64, 64)]
    net = nn.Sequential(*(module for both in layers for module in both))
    for parameter in net.parameters():
        parameter.data = torch.randint(-32, 33, parameter.shape) / 256
    x, found = (torch.rand(2, 2, 32, 32) < 0.5).float(), []
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        again = lambda snn: lambda x: checkpoint(snn, x, use_reentrant=False)  # noqa: E731
        for engine, wrap in (("auto", lambda snn: snn), ("auto", DistributedDataParallel), ("auto", again), ("dense", lambda snn: snn)):
            snn = SNN(copy.deepcopy(net), 3, engine=engine)
            wrap(snn)(x).square().sum().backward()
            assert engine == "dense" or "tile" in {way.pulled for way in snn.ways().values()}
            found.append([p.grad for p in snn.parameters()])
    finally:
        torch.distributed.destroy_process_group()
        conv._geometry.cache_clear()
        events.layer.__globals__["_call"].cache_clear()
    for alone, distributed, recomputed, dense in zip(*found, strict=True):
        assert torch.equal(alone, distributed) and torch.equal(alone, recomputed)
        assert dense.norm() > 0 and (alone - dense).norm() <= 1e-5 * dense.norm()
