"""First crossings against closed forms, integration in small steps and dense sampling; gradients against differences of the time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.timing.srm import SRMLinear, srm_potential, srm_times

pytestmark = pytest.mark.usefixtures("float64")
DELAYS = torch.arange(1, 17).double()


def oracle():
    """The reference specification's network: numpy's default_rng(0), 3 inputs of 16 terminals."""
    weight = torch.from_numpy(np.random.default_rng(0).uniform(0, 0.15, (1, 3, 16)))
    return torch.tensor([[0.0, 6.0, 0.0]]), weight


def random_net(batch=8, inputs=5, outputs=4, seed=0, scale=0.8):
    draw = torch.Generator().manual_seed(seed)
    t_in = torch.rand(batch, inputs, generator=draw) * 20
    t_in[torch.rand(batch, inputs, generator=draw) < 0.2] = math.inf
    return t_in, scale * torch.randn(outputs, inputs, 3, generator=draw), torch.tensor([0.5, 3.0, 7.5])


def test_the_kernel_has_its_worked_values():
    at = srm_potential(torch.tensor([1.0, 7.0, 14.0]), torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1))
    torch.testing.assert_close(at[0, 0], torch.tensor([0.336631, 1.0, 0.735759]), atol=5e-7, rtol=0)


def test_one_synapse_fires_where_lambert_says():
    assert srm_times(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1), 7.0, 0.5).item() == pytest.approx(1.623726670905741, abs=1e-12)
    weights, thresholds = torch.tensor([1.0, 1.5, 3.0, 40.0]), (0.3, 0.9, 0.9999)
    for threshold in thresholds:
        times = srm_times(torch.full((1, 1), 2.0), weights[:, None, None], torch.tensor([4.0]), 3.0, threshold)
        expected = 6.0 - 3.0 * lambertw(-threshold / (math.e * weights.numpy())).real
        np.testing.assert_allclose(times[0], expected, rtol=1e-10)


def test_the_worked_network_and_its_gradients():
    t_in, weight = oracle()
    t_in.requires_grad_()
    weight.requires_grad_()
    t = srm_times(t_in, weight, DELAYS)
    t.sum().backward()
    assert t.item() == pytest.approx(8.711340163900, abs=1e-10)
    assert weight.grad[0, 0, 0].item() == pytest.approx(-4.332864, abs=5e-7)
    assert weight.grad[0, 2, 5].item() == pytest.approx(-3.112000, abs=5e-7)
    torch.testing.assert_close(t_in.grad[0], torch.tensor([0.391645, 0.240965, 0.367390]), atol=5e-7, rtol=0)
    near = srm_potential(t.detach()[0] + torch.tensor([-1e-5, 1e-5]), t_in.detach(), weight.detach(), DELAYS)[0, 0]
    assert ((near[1] - near[0]) / 2e-5).item() == pytest.approx(0.229680280, abs=5e-9)
    assert near.mean().item() == pytest.approx(1.0, abs=1e-9)


def test_integration_in_small_steps_closes_in_with_order_one():
    """Forward Euler on z' = -z/tau + e/tau sum w delta, x' = -x/tau + z: an implementation that shares nothing with ours."""
    t_in, delays, tau = torch.tensor([[0.0, 2.0, 5.0]]), torch.tensor([1.0, 3.0]), 4.0
    weight = torch.tensor([[[0.5, 0.4], [-0.6, 0.3], [0.7, 0.9]]])
    exact = srm_times(t_in, weight, delays, tau).item()
    steps, errors = [2.0**-k for k in range(4, 9)], []
    for dt in steps:
        arrivals = {}
        for i, k in np.ndindex(3, 2):
            slot = round((t_in[0, i].item() + delays[k].item()) / dt)
            arrivals[slot] = arrivals.get(slot, 0.0) + weight[0, i, k].item()
        x = z = previous = 0.0
        n = 0
        while x < 1.0:
            z += math.e / tau * arrivals.get(n, 0.0)
            previous, x, z, n = x, x + dt * (z - x / tau), z - dt * z / tau, n + 1
        errors.append(abs(dt * (n - (x - 1.0) / (x - previous)) - exact))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.05)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("kernel", ["alpha", "linear"])
@pytest.mark.parametrize("own_delays", ["shared", "own"])
def test_the_first_crossing_is_the_first(kernel, own_delays):
    """Against sampling every 2 us, with weights of both signs."""
    t_in, weight, delays = random_net(batch=20, outputs=6)
    if own_delays == "own":
        delays = delays + torch.rand(weight.shape)
    times = srm_times(t_in, weight, delays, 3.0, kernel=kernel)
    at = torch.arange(0, 60, 0.002)
    for row in range(len(t_in)):
        over = srm_potential(at, t_in[row : row + 1], weight, delays, 3.0, kernel=kernel)[0] >= 1
        sampled = torch.where(over.any(1), at[over.to(torch.uint8).argmax(1)], math.inf)
        late = sampled - times[row]
        seen = sampled.isfinite()
        assert bool((times[row][~seen] >= 60).all())
        assert bool(((late[seen] >= -1e-9) & (late[seen] <= 0.002 + 1e-9)).all())
    assert 0.2 < times.isfinite().double().mean() < 0.9


def test_more_arrivals_than_a_block_holds():
    t_in, weight, delays = random_net(batch=2, inputs=150, outputs=8, scale=0.15)
    t_in = 10 * t_in
    times = srm_times(t_in, weight, delays, 3.0)
    at = torch.arange(0, 220, 0.01)
    over = srm_potential(at, t_in, weight, delays, 3.0) >= 1
    sampled = torch.where(over.any(2), at[over.to(torch.uint8).argmax(2)], math.inf)
    assert times[times.isfinite()].max() > 100  # of about 360 arrivals within 210 ms
    torch.testing.assert_close(times, sampled, atol=0.01, rtol=0)


def test_the_maximum_between_arrivals_decides():
    one = torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1), 7.0
    assert srm_times(*one, 1 - 1e-9).item() == pytest.approx(7.0, abs=1e-3)
    assert srm_times(*one, 1 + 1e-9).item() == math.inf
    brief = torch.tensor([[0.0, 0.5]]), torch.tensor([[[4.0], [-9.0]]]), torch.zeros(1), 7.0
    first = srm_times(*brief, 0.7).item()  # crosses before the inhibition arrives, which then stops all others
    assert first == pytest.approx(-7 * lambertw(-0.7 / (4 * math.e)).real, abs=1e-12)
    assert srm_times(*brief, 0.8).item() == math.inf


def test_arrivals_far_apart_do_not_overflow():
    far = torch.tensor([[0.0, 1e6]])
    times = srm_times(far, torch.tensor([[[0.5], [2.0]]]), torch.tensor([0.0, 1.0])[:1], 7.0)
    assert times.item() == pytest.approx(1e6 - 7 * lambertw(-1 / (2 * math.e)).real, abs=1e-6)


def rel_psp(times, weights, threshold=1.0):
    """t = (threshold + sum_C w t) / sum_C w over the smallest causal set C that is consistent."""
    pairs = sorted((t, w) for t, w in zip(times, weights, strict=True) if math.isfinite(t))
    total = moment = 0.0
    for k, (t, w) in enumerate(pairs):
        total, moment = total + w, moment + w * t
        following = pairs[k + 1][0] if k + 1 < len(pairs) else math.inf
        if total > 0 and t <= (threshold + moment) / total <= following:
            return (threshold + moment) / total
    return math.inf


def test_the_linear_kernel_is_rel_psp():
    worked = srm_times(torch.tensor([[0.0, 1.0, 1.5, 5.0]]), torch.tensor([[[0.3], [0.4], [-0.2], [0.6]]]), torch.zeros(1), kernel="linear")
    assert worked.item() == pytest.approx(2.2, abs=1e-12)
    late = srm_times(torch.tensor([[0.0, 1.0]]), torch.tensor([[[0.5], [-0.49]]]), torch.zeros(1), kernel="linear")
    assert late.item() == pytest.approx(51.0, abs=1e-9)
    t_in, weight, _ = random_net(batch=30, inputs=7)
    times = srm_times(t_in, weight[..., :1], torch.zeros(1), kernel="linear")
    expected = [[rel_psp(row.tolist(), weight[o, :, 0].tolist()) for o in range(4)] for row in t_in]
    np.testing.assert_allclose(times, expected, rtol=1e-10)


@pytest.mark.parametrize("kernel", ["alpha", "linear"])
@pytest.mark.parametrize("own_delays", ["shared", "own"])
def test_gradients_are_the_differences_of_the_time(kernel, own_delays):
    draw = torch.Generator().manual_seed(3)
    t_in, weight = torch.rand(3, 4, generator=draw) * 5, 0.2 + torch.rand(2, 4, 3, generator=draw)
    weight[:, 0] = -0.3
    delays = torch.tensor([0.5, 3.0, 7.5]).expand(weight.shape if own_delays == "own" else (3,)).clone()
    inputs = [value.requires_grad_() for value in (t_in, weight, delays)]
    assert bool(srm_times(*inputs, kernel=kernel).isfinite().all())
    assert torch.autograd.gradcheck(lambda t, w, d: srm_times(t, w, d, kernel=kernel, slope="none"), inputs, atol=1e-6, rtol=1e-6)


@given(st.floats(-50, 50), st.integers(0, 1000))
def test_a_shift_of_all_inputs_shifts_the_outputs(shift, seed):
    torch.set_default_dtype(torch.float64)
    t_in, weight, delays = random_net(seed=seed)
    t_in.requires_grad_()
    times = srm_times(t_in, weight, delays, slope="none")
    moved = srm_times(t_in.detach() + shift, weight, delays)
    steep = _slopes(times.detach(), t_in.detach(), weight, delays) > 1e-3
    torch.testing.assert_close(torch.where(steep, moved, 0.0), torch.where(steep, times.detach() + shift, 0.0), atol=1e-8, rtol=0)
    for o in range(times.shape[1]):
        (grad,) = torch.autograd.grad(times[:, o].sum(), t_in, retain_graph=True)
        total = torch.where(times[:, o].isfinite(), 1.0, 0.0)
        torch.testing.assert_close(grad.sum(1)[steep[:, o]], total[steep[:, o]], atol=1e-6, rtol=0)


def _slopes(times, t_in, weight, delays):
    """x' at the crossings, by a difference; 0 for silent neurons."""
    found = torch.zeros_like(times)
    for b, o in times.isfinite().nonzero().tolist():
        at = times[b, o] + torch.tensor([-1e-6, 0.0])
        x = srm_potential(at, t_in[b : b + 1], weight[o : o + 1], delays)[0, 0]
        found[b, o] = (x[1] - x[0]) / 1e-6
    return found


def test_guards_of_a_small_slope():
    """One synapse that barely reaches: dt/dw = -eps / x', with x' divided as the guard says."""
    grads = {}
    for guard in ("clamp", "none", "drop"):
        weight = torch.full((1, 1, 1), 1.001, requires_grad=True)
        t = srm_times(torch.zeros(1, 1), weight, torch.zeros(1), slope=guard, floor=0.05)
        t.backward()
        grads[guard] = weight.grad.item()
    s = t.item()
    slope = 1.001 * math.exp(1 - s / 7) * (1 - s / 7) / 7
    assert slope < 0.05
    assert grads["none"] == pytest.approx(-(1 / 1.001) / slope, rel=1e-6)
    assert grads["clamp"] == pytest.approx(-(1 / 1.001) / 0.05, rel=1e-9)
    assert grads["drop"] == 0


def test_neurons_that_never_fire():
    t_in = torch.tensor([[0.0, math.inf], [1.0, 2.0], [0.0, 0.0]])
    weight = torch.tensor([[[0.1], [0.1]], [[3.0], [3.0]]], requires_grad=True)
    times = srm_times(t_in, weight, torch.ones(1))
    assert times[:, 0].isinf().all()
    (grad,) = torch.autograd.grad(times[:, 0].clamp(max=9).sum(), weight)
    assert bool((grad == 0).all())
    pushed = srm_times(t_in, weight, torch.ones(1), silent="push", push=0.5)
    (grad,) = torch.autograd.grad(pushed[:, 0].clamp(max=9).sum(), weight)
    assert grad.flatten().tolist() == [-1.5, -1.0, 0.0, 0.0]


def test_the_dtype_stays_and_nothing_in_gives_nothing_out():
    t_in, weight = oracle()
    single = srm_times(t_in.float(), weight.float(), DELAYS.float())
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(8.71134, abs=1e-5)
    assert srm_times(t_in[:0], weight, DELAYS).shape == (0, 1)
    assert srm_times(torch.full((2, 3), math.inf), weight, DELAYS).isinf().all()


def test_the_layer_and_its_learned_delays():
    fixed, learned = SRMLinear(3, 2, tau=5.0), SRMLinear(3, 2, (1.0, 2.0), delay="learned")
    assert [name for name, _ in fixed.named_parameters()] == ["weight"]
    assert fixed.delays.tolist() == list(range(1, 17))
    t_in = torch.tensor([[0.0, 1.0, 0.0]])
    assert torch.equal(fixed(t_in), srm_times(t_in, fixed.weight, fixed.delays, 5.0))
    learned(t_in).sum().backward()
    assert learned.delays.grad.shape == (2, 3, 2)
    assert bool((learned.delays.grad.abs().sum((0, 2)) > 0).all())
    assert fixed.reached(torch.tensor([[1.0, 0.0, 1.0]])).item() == 2 * 2 * 16
    assert "3, 2, terminals=16, tau=5.0" in repr(fixed)


def test_what_does_not_fit_is_refused():
    t_in, weight = oracle()
    with pytest.raises(ShapeError, match=r"srm_times: got \(\[1, 2\], \[1, 3, 16\]\); must be times \[B, in\] and weights"):
        srm_times(t_in[:, :2], weight, DELAYS)
    with pytest.raises(ShapeError, match=r"srm_times delays: got \[3\]; must be \[16\] or \[1, 3, 16\]"):
        srm_times(t_in, weight, DELAYS[:3])
    for name, value, allowed in (("tau", 0.0, r"\(0"), ("threshold", -1.0, r"\(0"), ("floor", -0.1, r"\[0"), ("push", -1, r"\[0")):
        with pytest.raises(ParameterError, match=rf"srm_times.{name}: got {value}; must be in {allowed}, inf\)"):
            srm_times(t_in, weight, DELAYS, **{name: value})
    for name in ("kernel", "slope", "silent"):
        with pytest.raises(ParameterError, match=f"srm_times.{name}: got 'wrong'; must be one of"):
            srm_times(t_in, weight, DELAYS, **{name: "wrong"})
    with pytest.raises(ParameterError, match=r"SRMLinear.delays: got \(-1.0,\); must be one or more delays"):
        SRMLinear(2, 1, (-1.0,))
    with pytest.raises(ParameterError, match=r"SRMLinear.delay: got 'free'"):
        SRMLinear(2, 1, delay="free")
    with pytest.raises(ParameterError, match=r"SRMLinear.drive: got 0"):
        SRMLinear(2, 1, drive=0)
