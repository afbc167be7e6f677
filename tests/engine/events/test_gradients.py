"""Gradients of layers of spikes against float64, by finite differences, at the edges; and what is refused or stays dense."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from spikeloom.core.errors import ShapeError, SpikeloomError
from spikeloom.engine import cache, events
from spikeloom.engine.bits import Bits, pack
from spikeloom.engine.events import Geometry, gradient

DENSITIES = [0, 0.01, 0.05, 0.3, 0.8, 1]
ROUNDING = 1e-5  # of the sum of the magnitudes that are added
ORDERS = st.sampled_from([torch.contiguous_format, torch.channels_last])
pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731


def counts(shape, density, planes=1):
    return (torch.randint(1, 2**planes, shape) * (torch.rand(shape) < density)).float()


def dense(x, weight, bias, geometry):
    return F.linear(x, weight, bias) if weight.dim() == 2 else F.conv2d(x, weight, bias, *geometry)


def truth(x, weight, bias, geometry, grad, magnitudes=False):
    """Output and gradients of x, weight and bias in float64; of the magnitudes: how much is added for each."""
    leaves = [t.detach().double().abs() if magnitudes else t.detach().double() for t in (x, weight, bias)]
    leaves = [t.requires_grad_() for t in leaves]
    y = dense(*leaves, geometry)
    wide = grad.double().abs() if magnitudes else grad.double()
    return [y, *torch.autograd.grad(y, leaves, wide)]


def compare(x, weight, bias, geometry, planes, scale, engine):
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    y, taken = events.layer(*leaves, geometry, planes, scale, engine)
    grad = torch.randn_like(y)
    found = [y, *torch.autograd.grad(y, leaves, grad)]
    for got, wanted, size in zip(found, truth(x, weight, bias, geometry, grad), truth(x, weight, bias, geometry, grad, True), strict=True):
        assert got.shape == wanted.shape and got.dtype == torch.float32 and ((got - wanted).abs() <= ROUNDING * size).all()
    return taken


@given(
    st.integers(1, 33), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3, 16, 63, 64, 70]), st.sampled_from([1, 5, 16, 33, 64, 130]),
    pair(1, 9), st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (2, 3), (4, 1), (1, 9)]), pair(1, 3), pair(0, 3), st.integers(1, 2),
    st.sampled_from(DENSITIES), st.sampled_from([(1, 1.0), (2, 1.0), (3, 0.25)]), st.sampled_from(["sparse", "auto"]), ORDERS,
)  # fmt: skip
def test_conv2d(n, groups, inputs, outputs, size, kernel, stride, padding, dilation, density, kind, engine, order):
    assume(all(d + 2 * p > dilation * (k - 1) for d, p, k in zip(size, padding, kernel, strict=True)))
    assume(n * outputs * inputs * groups < 20000)
    x = (counts((n, groups * inputs, *size), density, kind[0]) * kind[1]).contiguous(memory_format=order)
    weight = torch.randn(groups * outputs, inputs, *kernel).contiguous(memory_format=order)
    geometry = Geometry(stride, padding, (dilation, dilation), groups)
    taken = compare(x, weight, torch.randn(groups * outputs), geometry, *kind, engine)
    if engine == "sparse":
        dilated = dilation > 1 and max(kernel) > 1
        assert taken.forward == ("depthwise" if inputs == outputs == 1 else "list")
        assert taken.backward == ("dense" if dilated or kernel[1] > 8 else "list")


@given(
    st.integers(1, 33), st.integers(1, 200), st.integers(1, 200), st.sampled_from(DENSITIES), st.sampled_from([(1, 1.0), (3, 0.5)]),
    st.sampled_from(["sparse", "auto"]),
)  # fmt: skip
def test_linear(n, inputs, outputs, density, kind, engine):
    x = counts((n, inputs), density, kind[0]) * kind[1]
    compare(x, torch.randn(outputs, inputs), torch.randn(outputs), Geometry(), *kind, engine)


@pytest.mark.parametrize("kernel, stride, padding", [((3, 3), (1, 1), (1, 1)), ((3, 2), (2, 3), (0, 2)), ((1, 1), (2, 2), (0, 0))])
def test_the_weights_gradient_by_finite_differences(kernel, stride, padding):
    """The loss is linear in the weights, so that differences of whole numbers are exact."""
    x, weight = counts((2, 5, 6, 5), 0.3), torch.randint(-4, 5, (3, 5, *kernel)).float()
    y = F.conv2d(x, weight, None, stride, padding)
    grad = torch.randint(-4, 5, y.shape).float()
    found = events.conv2d_weight(pack(x), grad, weight, stride, padding, 1)
    for at in range(weight.numel()):
        moved = weight.clone()
        moved.view(-1)[at] += 1
        assert ((F.conv2d(x, moved, None, stride, padding) - y) * grad).sum() == found.view(-1)[at]


def test_sums_of_whole_numbers_are_exact_whatever_the_pieces(monkeypatch):
    x = counts((9, 70, 11, 7), 0.2)
    weight = torch.zeros(40, 70, 3, 3)
    grad = torch.randint(-8, 9, (9, 40, 11, 7)).float()
    wanted = truth(x, weight, torch.zeros(40), Geometry(padding=(1, 1)), grad)[2]
    for near in (1 << 10, 1 << 13, 1 << 15, 1 << 20):
        monkeypatch.setattr(gradient, "NEAR", near)
        for order in (torch.contiguous_format, torch.channels_last):
            found = events.conv2d_weight(pack(x), grad, weight.contiguous(memory_format=order), (1, 1), (1, 1), 1)
            assert torch.equal(found.double(), wanted) and found.is_contiguous(memory_format=order)


@pytest.mark.parametrize("near", [1 << 13, 1 << 20])
def test_threads_do_not_change_a_bit(near, monkeypatch):
    monkeypatch.setattr(gradient, "NEAR", near)
    bits, grad, weight = pack(counts((8, 130, 16, 16), 0.2)), torch.randn(8, 96, 16, 16), torch.zeros(96, 130, 3, 3)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(events.conv2d_weight(bits, grad, weight, (1, 1), (1, 1), 1))
    assert torch.equal(*found)


@pytest.mark.parametrize("density", [0, 1])
def test_what_is_not_read_may_hold_anything(density, monkeypatch):
    """Neither what new memory holds nor the gradient of pixels that no event reaches gets into a sum."""
    plain = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: plain(*a, **k).fill_(float("nan")))
    x, grad = torch.zeros(2, 16, 8, 8), torch.full((2, 20, 8, 8), float("nan"))
    x[:, :, :3], grad[:, :, :4] = density, 1.0  # 3 x 3 taps of the first three rows reach the first four
    found = events.conv2d_weight(pack(x), grad, torch.zeros(20, 16, 3, 3), (1, 1), (1, 1), 1)
    grad[:, :, 4:] = 0
    assert torch.equal(found.double(), truth(x, torch.zeros(20, 16, 3, 3), torch.zeros(20), Geometry(padding=(1, 1)), grad)[2])


def test_bits_are_what_is_saved():
    x, weight = counts((4, 64, 8, 8), 0.05).requires_grad_(), torch.randn(64, 64, 3, 3, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        events.layer(x, weight, None, Geometry(padding=(1, 1)), engine="sparse")
    assert [t.dtype for t in saved] == [torch.int64, torch.float32] and saved[0].shape == (1, 4, 8, 8, 1) and saved[1] is weight


@pytest.mark.parametrize("needed", [(True, False), (False, True), (False, False)])
def test_only_the_gradients_that_are_needed(needed):
    x, weight = counts((4, 64, 8, 8), 0.05).requires_grad_(needed[0]), torch.randn(64, 64, 3, 3).requires_grad_(needed[1])
    y, taken = events.layer(x, weight, None, Geometry(padding=(1, 1)), engine="sparse")
    assert y.requires_grad == any(needed) and taken.backward == ("list" if needed[1] else "dense")
    if any(needed):
        y.sum().backward()
    assert [x.grad is not None, weight.grad is not None] == list(needed)


def test_second_derivatives_are_refused():
    weight = torch.randn(8, 8, requires_grad=True)
    y, _ = events.layer(torch.ones(4, 8), weight, engine="sparse")
    with pytest.raises(SpikeloomError, match=r"no second derivatives; drop create_graph=True, or set engine='dense'"):
        torch.autograd.grad(y.square().sum(), weight, create_graph=True)


def reason(x, weight, **options):
    return events.layer(x, weight, engine="sparse", **options)[1].reason


def test_what_stays_dense():
    x, weight = counts((2, 8, 5, 5), 0.3), torch.randn(4, 8, 3, 3)
    assert "float64 on cpu" in reason(x.double(), weight.double())
    assert reason(x + 0.5, weight) == reason(-x, weight) == "its input is not 1 times whole numbers from 0 to 1"
    assert reason(2 * x, weight, planes=2) == "" and reason(x / 4, weight, planes=3, scale=0.25) == ""
    assert "empty" in reason(x[:0], weight)
    weight.requires_grad_()
    assert reason(x, weight, geometry=Geometry(dilation=(2, 2))) == "its kernel is dilated"
    assert reason(x, torch.randn(4, 8, 1, 9, requires_grad=True), geometry=Geometry(padding=(0, 4))) == "its kernel is wider than 8"
    with torch.autocast("cpu", torch.bfloat16):
        y, taken = events.layer(x, weight, engine="sparse")
    assert y.dtype == torch.bfloat16 and taken.forward == "dense" and "under autocast" in taken.reason


def test_signs_are_refused():
    with pytest.raises(ShapeError, match=r"events\.conv2d_weight bits: got 'signed \[1, 2, 3, 3\]'; must be unsigned; unpack them first"):
        events.conv2d_weight(pack(-torch.ones(1, 2, 3, 3), signed=True), torch.ones(1, 4, 3, 3), torch.ones(4, 2, 1, 1), (1, 1), (0, 0), 1)


@pytest.mark.parametrize(
    "shape, message",
    [((2, 8, 2, 2), "Kernel size can't be greater"), ((2, 7, 5, 5), "to have 8 channels"), ((8, 5, 5), None), ((2, 8), "Expected 3D")],
)
def test_torch_says_what_is_wrong_with_a_call(shape, message):
    x, weight = torch.ones(shape), torch.randn(4, 8, 3, 3)
    if message is None:
        assert events.layer(x, weight, engine="sparse")[0].shape == (4, 3, 3)
        return
    with pytest.raises(RuntimeError, match=message):
        events.layer(x, weight, engine="sparse")


def test_functional_transforms_stay_dense():
    x, weight = counts((3, 2, 8, 5, 5), 0.3), torch.randn(4, 8, 3, 3)
    found = torch.func.vmap(lambda one: events.layer(one, weight, engine="sparse")[0])(x)
    torch.testing.assert_close(found, torch.stack([F.conv2d(one, weight) for one in x]))


def test_without_a_compiler(monkeypatch):
    def missing(*_):
        raise cache.CannotCompile("no C++ compiler; the reference loop runs")

    monkeypatch.setattr(gradient, "_function", missing)
    taken = compare(counts((2, 9, 5, 5), 0.3), torch.randn(4, 9, 3, 3), torch.randn(4), Geometry(), 1, 1.0, "sparse")
    assert taken.backward == "dense" and taken.reason == "no C++ compiler; it stays dense"


def test_auto_looks_at_a_sample_before_it_packs(monkeypatch):
    packed = []
    plain = Bits._count
    monkeypatch.setattr(Bits, "_count", lambda self: packed.append(self.shape[0]) or plain(self))
    x, weight = torch.ones(64, 64, 8, 8), torch.randn(64, 64, 3, 3, requires_grad=True)
    taken = events.layer(x, weight)[1]
    assert taken[:3] == ("dense", "dense", 1) and "events would take about" in taken.reason and packed == [4]
    assert events.layer(torch.zeros_like(x), weight)[1][:3] == ("list", "list", 0) and packed[:3] == [4, 4, 64]


def test_auto_does_not_look_where_nothing_can_be_gained(monkeypatch):
    monkeypatch.setattr(Bits, "events", lambda self: 1 / 0)
    taken = events.layer(torch.zeros(64, 2, 4, 4), torch.randn(2, 2, 3, 3, requires_grad=True))[1]
    assert taken[:3] == ("dense", "dense", None) and "events would take about" in taken.reason
