"""ReL-PSP firing times: the oracles of METHODS H.2, brute force, simulation, finite differences, shift invariance."""

import math

import pytest
import torch
from brute import firing_time, potential
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from spikeloom.timing import relpsp_times

pytestmark = pytest.mark.usefixtures("implementation")
inf = math.inf


def fired(t, w, threshold=1.0, dtype=torch.float64, **options):
    """Times, and gradients of their sum: of t and w."""
    t = torch.tensor([t], dtype=dtype, requires_grad=True)
    w = torch.tensor([w], dtype=dtype, requires_grad=True)
    out = relpsp_times(t, w, threshold, **options)
    out.where(out.isfinite(), 0.0).sum().backward()
    return out.item(), t.grad[0].tolist(), w.grad[0].tolist()


def test_the_worked_neuron():
    when, by_time, by_weight = fired([0, 1, 1.5, 5], [0.3, 0.4, -0.2, 0.6])
    assert when == pytest.approx(2.2, abs=1e-9)
    assert by_weight == pytest.approx([-4.4, -2.4, -1.4, 0], abs=1e-9)
    assert by_time == pytest.approx([0.6, 0.8, -0.4, 0], abs=1e-9)
    assert potential(when, [0, 1, 1.5, 5], [0.3, 0.4, -0.2, 0.6]) == pytest.approx(1, abs=1e-9)


def test_a_small_slope_fires_late():
    # t = (0, 1), w = (.5, -.49): V(1) = .5, then the slope is .01
    assert fired([0, 1], [0.5, -0.49])[0] == pytest.approx(51, abs=1e-9)


def test_a_potential_that_falls_before_the_threshold_never_fires():
    when, by_time, by_weight = fired([0, 1], [0.2, -0.5])  # V peaks at .2
    assert when == inf
    assert by_time == by_weight == [0, 0]


def test_the_affine_case_of_maass():
    # METHODS H.3: T = 10, times 10 - x, a reference synapse of .25 at 10 makes the slope 1
    assert fired([10 - 0.4, 10 - 0.8, 10], [0.5, 0.25, 0.25], 2.0)[0] == pytest.approx(11.6, abs=1e-9)


def test_degenerate_inputs():
    assert fired([inf, inf], [1, 1]) == (inf, [0, 0], [0, 0])
    assert fired([3], [0.0])[0] == inf
    assert fired([3], [2.0])[0] == pytest.approx(3.5)
    assert fired([1, 1, 1], [0.5, 1, 0.5])[0] == pytest.approx(1.5)  # ties all belong to the causal set
    assert fired([1, 1, inf], [3, -1, 9])[0] == pytest.approx(1.5)
    # an input that comes when the neuron fires has no part in it
    when, by_time, _ = fired([0, 1], [1, 5])
    assert (when, by_time) == (1, [1, 0])
    assert fired([-4, 2], [0.5, 1])[0] == pytest.approx(-2)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_nothing_in_or_out(shape):
    batch, inputs, outputs = shape
    t, w = torch.rand(batch, inputs, requires_grad=True), torch.rand(outputs, inputs, requires_grad=True)
    out = relpsp_times(t, w)
    out.where(out.isfinite(), 0.0).sum().backward()
    assert out.shape == (batch, outputs)
    assert out.isinf().all()
    assert not t.grad.any() and not w.grad.any()


def random_case(seed, inputs=12, outputs=9, batch=7, dtype=torch.float64, silent=0.2):
    g = torch.Generator().manual_seed(seed)
    t = torch.rand(batch, inputs, generator=g, dtype=torch.float64) * 2
    t[torch.rand(batch, inputs, generator=g) < silent] = inf
    w = torch.randn(outputs, inputs, generator=g, dtype=torch.float64) * 0.4 + 0.3
    return t.to(dtype), w.to(dtype)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("inputs, outputs", [(12, 9), (60, 40), (3, 200)])
def test_against_brute_force(dtype, tolerance, inputs, outputs):
    t, w = random_case(3, inputs, outputs, dtype=dtype)
    out = relpsp_times(t, w)
    for b, row in enumerate(t.double().tolist()):
        for j, weights in enumerate(w.double().tolist()):
            when, slope = firing_time(row, weights, 1.0)
            found = out[b, j].item()
            assert math.isinf(found) == math.isinf(when)
            # one rounding of the potential moves the crossing by its error over the slope
            assert found == when or abs(found - when) <= tolerance * max(1, abs(when), 1 / slope if slope else 0)


def test_against_a_simulation_whose_error_falls_with_the_step():
    """V on a grid of step h crosses at most h after the closed form: the slope of the mean error in log-log is 1."""
    t, w = random_case(5, batch=16, silent=0)
    exact = relpsp_times(t, w)
    steps = [2.0**-k for k in range(4, 10)]
    near, errors = exact < 4, []
    for h in steps:
        grid = torch.arange(0, 5, h, dtype=torch.float64)
        rising = (grid.view(-1, 1, 1) - t).clamp(min=0)  # [steps, B, in]
        above = rising @ w.t() >= 1
        first = grid[above.to(torch.uint8).argmax(0)].where(above.any(0), inf)
        errors.append((first - exact)[near].mean().log2().item())
        assert ((first - exact)[near] > -1e-9).all() and ((first - exact)[near] <= h).all()
    slope = (errors[0] - errors[-1]) / (math.log2(steps[0]) - math.log2(steps[-1]))
    assert slope == pytest.approx(1, abs=0.1)


def test_gradients_against_finite_differences_of_the_times():
    t, w = random_case(11, silent=0)
    out = relpsp_times(t, w)
    weights = torch.randn_like(out).where(out < 20, 0.0)  # where the slope is not tiny

    def objective(t, w):
        found = relpsp_times(t, w)
        return (found.where(found.isfinite(), 0.0) * weights).sum()

    assert torch.autograd.gradcheck(objective, (t.requires_grad_(), w.requires_grad_()), eps=1e-7, atol=1e-4, rtol=1e-4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5))
def test_a_shift_of_the_inputs_shifts_the_outputs(seed, shift):
    t, w = random_case(seed, inputs=6, outputs=5, batch=3)
    t.requires_grad_()
    out = relpsp_times(t, w)
    fires = out.isfinite() & (out < 1e3)
    assume(fires.any())
    for b, j in fires.nonzero().tolist():
        (grad,) = torch.autograd.grad(out[b, j], t, retain_graph=True)
        assert grad.sum().item() == pytest.approx(1, abs=1e-9)
    moved = relpsp_times(t + shift, w)
    assert torch.allclose(moved[fires], out[fires] + shift, rtol=1e-9, atol=1e-7)


def test_float32_far_from_zero_is_as_good_as_its_inputs():
    t, w = random_case(2, 60, 40, silent=0)
    near = relpsp_times(t, w)
    far = relpsp_times((t + 1000).float(), w.float()).double() - 1000
    early = near < 3
    assert (far - near)[early].abs().max() < 20 * 2**-14  # a float32 near 1000 is a multiple of 2^-14


def test_silent_neurons_push_the_weights_of_inputs_that_fired():
    t = torch.tensor([[0.0, 1.0, inf], [0.5, inf, 2.0]], dtype=torch.float64)
    w = torch.tensor([[0.2, -0.5, 0.0], [2.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    out = relpsp_times(t, w, silent="push", push=0.25)
    assert out[0, 0] == inf
    (grad,) = torch.autograd.grad(out[:, 0].where(out[:, 0].isfinite(), 0.0).sum(), w)
    # neuron 0 is silent in image 0 only if V stays below: image 1 gives slope .2 from .5 on, t = 5.5
    own = torch.tensor([[0.5 - 5.5, 0.0, 2.0 - 5.5], [0.0, 0.0, 0.0]], dtype=torch.float64) / 0.2
    pushed = torch.tensor([[-0.125, -0.125, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(grad, own + pushed, atol=1e-12)
    plain = torch.autograd.grad(relpsp_times(t, w)[1, 0], w)[0]
    assert torch.allclose(plain, own, atol=1e-12)


def test_descent_wakes_a_silent_neuron():
    t = torch.rand(8, 6)
    w = torch.full((3, 6), -0.1).requires_grad_()
    optimiser = torch.optim.SGD([w], lr=1.0)
    for _ in range(40):
        optimiser.zero_grad()
        out = relpsp_times(t, w, silent="push", push=0.1)
        out.where(out.isfinite(), 0.0).mul(0).sum().backward()
        optimiser.step()
    assert out.isfinite().all()
