"""The convolution of SpikeProp's neurons: against the full connection, a loop over patches, ReL-PSP and differences of the time."""

import math

import pytest
import torch
from torch import nn

from spikeloom import SNN, measure
from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.timing import RelPSPConv2d, SRMConv2d, SRMLinear, relpsp_conv2d_times, srm, srm_conv2d_times, srm_times

pytestmark = pytest.mark.usefixtures("float64")
inf = math.inf
DELAYS = torch.tensor([0.5, 3.0, 7.5]).double()


def drawn(out=3, channels=2, side=(6, 5), window=(3, 2), silent=0.2, low=-0.3, high=0.8):
    t = 15 * torch.rand(4, channels, *side)
    t[torch.rand(t.shape) < silent] = inf
    return t, low + (high - low) * torch.rand(out, channels, *window, 3)


def every(t, size, window, stride, padding):
    """The patch `[B, taps]` at every place, by hand: `(row, column, patch)`."""
    high, wide = ((size[d] + 2 * padding[d] - window[d]) // stride[d] + 1 for d in range(2))
    for row in range(high):
        for column in range(wide):
            taps = []
            for c in range(t.shape[1]):
                for i in range(window[0]):
                    for j in range(window[1]):
                        y, x = row * stride[0] + i - padding[0], column * stride[1] + j - padding[1]
                        inside = 0 <= y < size[0] and 0 <= x < size[1]
                        taps.append(t[:, c, y, x] if inside else torch.full((len(t),), inf))
            yield row, column, torch.stack(taps, 1)


@pytest.mark.parametrize("delay", ["fixed", "learned"])
@pytest.mark.parametrize("side", [(1, 1), (4, 3)])
def test_one_patch_is_a_full_connection(side, delay):
    conv = SRMConv2d(2, 3, side, delays=(1.0, 4.0, 9.0), tau=5.0, delay=delay, drive=6.0, silent="push")
    full = SRMLinear(2 * side[0] * side[1], 3, (1.0, 4.0, 9.0), tau=5.0, delay=delay, drive=6.0, silent="push")
    full.load_state_dict({k: v.flatten(1, -2) if v.dim() > 1 else v for k, v in conv.state_dict().items()})
    t, _ = drawn(side=side, silent=0.1)
    patch = t.flatten(1).requires_grad_()
    t.requires_grad_()
    out, expected = conv(t), full(patch)
    assert out.shape == (4, 3, 1, 1) and out.isfinite().any()
    assert torch.equal(out.flatten(1), expected)
    for times in (out, expected):
        times.clamp(max=40).square().sum().backward()
    assert torch.equal(t.grad.flatten(1), patch.grad)
    assert torch.equal(conv.weight.grad.flatten(1, -2), full.weight.grad)
    assert delay == "fixed" or torch.equal(conv.delays.grad.flatten(1, -2), full.delays.grad)


@pytest.mark.parametrize("stride, padding", [(1, 0), ((2, 1), (1, 2)), (3, 1)])
@pytest.mark.parametrize("own_delays", ["shared", "own"])
def test_every_patch_by_itself(stride, padding, own_delays):
    t, w = drawn(low=-0.5, high=0.6)
    delays = DELAYS + torch.rand(w.shape) if own_delays == "own" else DELAYS
    pairs = [(n, n) if isinstance(n, int) else n for n in (stride, padding)]
    for value in (t, w):
        value.requires_grad_()
    options = {"slope": "drop", "floor": 0.02, "silent": "push", "push": 0.3}
    out = srm_conv2d_times(t, w, delays, 4.0, 1.2, **options, stride=stride, padding=padding)
    flat = [value.flatten(1, -2) if value.dim() > 1 else value for value in (w, delays)]
    found = torch.full(out.shape, math.nan)
    for row, column, patch in every(t, (6, 5), (3, 2), *pairs):
        found[:, :, row, column] = srm_times(patch, *flat, 4.0, 1.2, **options)
    assert not found.isnan().any()
    torch.testing.assert_close(out, found, rtol=1e-12, atol=0)
    assert 0.1 < out.isfinite().double().mean() < 1
    g = torch.randn_like(out)
    got, wanted = (torch.autograd.grad((x.clamp(max=60) * g).sum(), (t, w)) for x in (out, found))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_few_patches_at_a_time_give_the_same(monkeypatch):
    t, w = drawn()
    times = srm_conv2d_times(t, w.requires_grad_(), DELAYS, padding=1)
    (grad,) = torch.autograd.grad(times.clamp(max=60).sum(), w)
    monkeypatch.setattr(srm, "CHUNK", 5 * w.numel())
    again = srm_conv2d_times(t, w, DELAYS, padding=1)
    torch.testing.assert_close(again, times, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(again.clamp(max=60).sum(), w)[0], grad, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("own_delays", ["shared", "own"])
@pytest.mark.parametrize("kernel", ["alpha", "linear"])
def test_gradients_are_the_differences_of_the_time(kernel, own_delays):
    t, w = drawn(out=2, channels=1, side=(4, 4), window=(2, 3), silent=0.0, low=0.3, high=1.2)
    t, w = t[:2] / 3, w.index_fill(2, torch.tensor(0), -0.1)
    t[0, 0, 1, 1] = inf
    delays = (DELAYS + torch.rand(w.shape) if own_delays == "own" else DELAYS).clone()
    given = [value.requires_grad_() for value in (t, w, delays)]

    def times(t, w, d):
        return srm_conv2d_times(t, w, d, 9.0, kernel=kernel, slope="none", stride=(1, 2), padding=(0, 1))

    assert times(*given).shape == (2, 2, 3, 2)
    assert bool(times(*given).isfinite().all())
    assert torch.autograd.gradcheck(times, given, atol=1e-6, rtol=1e-6)


def test_a_shift_of_all_inputs_shifts_the_outputs():
    t, w = drawn(low=-0.1)
    t.requires_grad_()
    out = srm_conv2d_times(t, w, DELAYS, slope="none", stride=2, padding=1)
    moved = srm_conv2d_times(t.detach() - 7.25, w, DELAYS, stride=2, padding=1)
    torch.testing.assert_close(moved, out.detach() - 7.25, atol=1e-8, rtol=0)
    seen = 0
    for b, o, row, column in out.isfinite().nonzero().tolist():
        (grad,) = torch.autograd.grad(out[b, o, row, column], t, retain_graph=True)
        assert grad[b].sum().item() == pytest.approx(1, abs=1e-6)
        assert not grad[torch.arange(4) != b].any()
        seen += 1
    assert seen > 50


def test_the_linear_kernel_without_delays_is_rel_psp():
    conv = SRMConv2d(2, 4, (3, 2), (2, 1), (1, 0), (0.0,), kernel="linear", slope="none", silent="none")
    twin = RelPSPConv2d(2, 4, (3, 2), (2, 1), (1, 0), silent="none")
    nn.init.normal_(conv.weight, 0.1, 0.4)
    twin.weight.data = conv.weight.data[..., 0].clone()
    t, _ = drawn()
    t.requires_grad_()
    times = [net(t) for net in (conv, twin)]
    torch.testing.assert_close(*times, rtol=1e-10, atol=1e-10)
    assert 0.2 < times[0].isfinite().double().mean() < 1
    near = [x.where(times[1] < 40, 0.0).square().sum() for x in times]
    grads = [torch.autograd.grad(loss, (t, net.weight)) for loss, net in zip(near, (conv, twin), strict=True)]
    torch.testing.assert_close(grads[0][0], grads[1][0], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(grads[0][1][..., 0], grads[1][1], rtol=1e-7, atol=1e-7)
    functions = srm_conv2d_times(t, conv.weight, torch.zeros(1), kernel="linear"), relpsp_conv2d_times(t, twin.weight)
    torch.testing.assert_close(*functions, rtol=1e-10, atol=1e-10)


def test_places_that_nothing_reaches_are_silent_and_pushed():
    """One spike in the corner of 3 x 3, window 2: one place of four sees it, and it is too weak."""
    t = torch.full((1, 1, 3, 3), inf)
    t[0, 0, 0, 0] = 1.0
    w = torch.full((1, 1, 2, 2, 1), 0.5, requires_grad=True)
    for silent, expected in (("none", [0, 0, 0, 0]), ("push", [-0.2, 0, 0, 0])):
        times = srm_conv2d_times(t, w, torch.ones(1), silent=silent, push=0.2)
        assert times.shape == (1, 1, 2, 2) and bool(times.isinf().all())
        assert torch.autograd.grad(times.clamp(max=9).sum(), w)[0].flatten().tolist() == pytest.approx(expected)
    # padded by one, the same spike stands in all four corners of a window
    times = srm_conv2d_times(t, w, torch.ones(1), silent="push", push=0.2, padding=1)
    assert torch.autograd.grad(times.clamp(max=9).sum(), w)[0].flatten().tolist() == pytest.approx([-0.2] * 4)
    assert srm_conv2d_times(t[:0], w, torch.ones(1)).shape == (0, 1, 2, 2)


@pytest.mark.parametrize("stride, padding", [((1, 1), (0, 0)), ((2, 1), (1, 2)), ((3, 3), (0, 1))])
def test_spikes_reach_the_terminals_that_are_there(stride, padding):
    conv = SRMConv2d(2, 5, (3, 2), stride, padding, (1.0, 2.0, 3.0))
    t, _ = drawn(silent=0.4)
    counted = torch.zeros(4)
    for *_, patch in every(t, (6, 5), (3, 2), stride, padding):
        counted += patch.isfinite().sum(1) * 5 * 3
    assert torch.equal(conv.reached(t.isfinite().double()), counted)
    (row,) = measure.operations(SNN(conv, 1, None), t[None])
    assert (row["kind"], row["acs"]) == ("SRMConv2d", pytest.approx(counted.mean().item()))


def test_the_layer_starts_as_asked_and_its_delays_learn():
    conv = SRMConv2d(3, 50, 4, delays=(2.0, 2.5), delay="learned", drive=6.0, threshold=0.5)
    assert conv.weight.shape == conv.delays.shape == (50, 3, 4, 4, 2)
    assert conv.weight.min() >= 0 and conv.weight.max() <= 2 * 6 * 0.5 / 96
    assert conv.weight.sum((1, 2, 3, 4)).mean().item() == pytest.approx(6 * 0.5, rel=0.05)
    conv(torch.rand(2, 3, 5, 5)).sum().backward()
    assert bool((conv.delays.grad.abs().sum((1, 2, 3)) > 0).all())
    assert [name for name, _ in SRMConv2d(1, 1, 2).named_parameters()] == ["weight"]
    assert "3, 50, (4, 4), stride=(1, 1), padding=(0, 0), terminals=2, tau=7.0" in repr(conv)


def test_a_bar_is_told_from_another():
    """A convolution and a full connection, trained through both by the time of the first spike."""
    torch.manual_seed(1)
    net = nn.Sequential(SRMConv2d(1, 4, 3, 2, 1, (1.0, 5.0), silent="push"), nn.Flatten(), SRMLinear(64, 2, (1.0, 5.0), silent="push"))
    t, labels = torch.full((12, 1, 8, 8), 8.0), torch.arange(12) % 2
    for k, image in enumerate(t):
        image[0].transpose(0, k % 2)[2 + k // 4] = torch.rand(8)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(25):
        loss = nn.functional.cross_entropy(-net(t).clamp(max=50), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (net(t).argmin(1) == labels).all()


T, W = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.rand(5, 3, 2, 2, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: srm_conv2d_times(T[0], W, DELAYS), ShapeError, r"got \(\[3, 4, 4\], \[5, 3, 2, 2, 3\]\); must be times \[B, C, H, W\]"),
        (lambda: srm_conv2d_times(T[:, :2], W, DELAYS), ShapeError, r"srm_conv2d_times: got \(\[2, 2, 4, 4\], \[5, 3, 2, 2, 3\]\)"),
        (lambda: srm_conv2d_times(T, W[..., 0], DELAYS), ShapeError, r"must be .* weights \[out, C, kh, kw, K\]"),
        (lambda: srm_conv2d_times(T, W, DELAYS[:2]), ShapeError, r"conv2d_times delays: got \[2\]; must be \[3\] or \[5, 3, 2, 2, 3\]"),
        (
            lambda: srm_conv2d_times(T[..., :1], W, DELAYS), ShapeError,
            r"srm_conv2d_times t_in: got \[2, 3, 4, 1\]; must be at least as large as the window \[2, 2\], padded",
        ),
        (lambda: srm_conv2d_times(T, W, DELAYS, stride=0), ParameterError, r"srm_conv2d_times stride, padding: got \(\(0, 0\), \(0, 0\)\)"),
        (lambda: srm_conv2d_times(T, W, DELAYS, padding=(0, -1)), ParameterError, r"must be a stride >= 1, a padding >= 0"),
        (lambda: srm_conv2d_times(T, W, DELAYS, 0.0), ParameterError, r"srm_times.tau: got 0.0; must be in \(0, inf\)"),
        (lambda: srm_conv2d_times(T, W, DELAYS, slope="steep"), ParameterError, "srm_times.slope: got 'steep'; must be one of"),
        (lambda: SRMConv2d(0, 1, 2), ParameterError, "SRMConv2d size: got 0; must be a whole number of at least 1"),
        (lambda: SRMConv2d(1, 1, 2, stride=0), ParameterError, r"SRMConv2d stride, padding: got \(\(0, 0\), \(0, 0\)\)"),
        (lambda: SRMConv2d(1, 1, 2, padding=-1), ParameterError, "SRMConv2d stride, padding"),
        (lambda: SRMConv2d(1, 1, 2, delays=()), ParameterError, r"SRMConv2d.delays: got \(\); must be one or more delays of at least 0"),
        (lambda: SRMConv2d(1, 1, 2, delay="free"), ParameterError, "SRMConv2d.delay: got 'free'"),
        (lambda: SRMConv2d(1, 1, 2, drive=0), ParameterError, "SRMConv2d.drive: got 0"),
        (lambda: SRMConv2d(1, 1, 2, silent="no"), ParameterError, "srm_times.silent: got 'no'; must be one of"),
        (lambda: SRMLinear(2, 0), ParameterError, "SRMLinear size: got 0; must be a whole number of at least 1"),
    ],
)  # fmt: skip
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
