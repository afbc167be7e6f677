"""QCFS against METHODS G.7: its levels, its gradient, and its equality with an integrator under constant current."""

import pytest
import torch
from torch import nn

from spikeloom import IF
from spikeloom.core.errors import ParameterError
from spikeloom.nn.activations import QCFS
from spikeloom.nn.activations.qcfs import fit_scales


def test_the_worked_number_and_the_levels():
    assert QCFS(levels=4, scale=1.0)(torch.tensor(0.37)).item() == 0.25
    z = torch.tensor([-1.0, 0.9, 1.1, 2.9, 3.1, 7.1, 100.0])  # boundaries at odd numbers for scale 8 and 4 levels
    assert QCFS()(z).tolist() == [0, 0, 2, 2, 4, 8, 8]


def test_it_is_the_rate_of_an_integrator_after_as_many_steps_as_levels(float64):
    cases = 0
    for levels in (1, 2, 3, 4, 8, 16):
        for scale in (0.5, 1.0, 1.7, 8.0):
            z = torch.linspace(-0.5, 1.6, 211) * scale
            apart = z * levels / scale + 0.5
            z = z[(apart - apart.round()).abs() > 1e-6]
            rate = IF(reset="subtract", threshold=scale, start=0.5)(z.expand(levels, 1, -1)).mean(0)[0]
            torch.testing.assert_close(QCFS(levels, scale)(z), scale * rate, rtol=1e-12, atol=1e-12)
            cases += len(z)
    assert cases > 4800


def test_gradients_pass_the_floor(float64):
    """By hand: 1 inside the clip and 0 outside; of scale: a/scale - z/scale inside, 1 at the ceiling, 0 at the bottom."""
    activation, z = QCFS(levels=4, scale=2.0), torch.tensor([-1.0, 0.7, 5.0]).requires_grad_()
    activation(z).backward(torch.ones(3))
    assert z.grad.tolist() == [0, 1, 0]
    # z = .7 gives floor(1.9)/4 = .25
    assert activation.scale.grad.item() == pytest.approx((0.25 - 0.35) + 1, abs=1e-15)


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 70_000), (2, 3, 150, 200)])
def test_in_pieces_it_is_the_formula_with_its_floor_passed(float64, shape):
    z, weights = torch.randn(shape) * 3, torch.randn(shape)
    for given in (z, z.to(memory_format=torch.channels_last)) if z.dim() == 4 else (z,):
        activation, scale = QCFS(levels=6, scale=2.0), torch.tensor(2.0).requires_grad_()
        x, y = given.clone().requires_grad_(), given.clone().requires_grad_()
        (activation(x) * weights).sum().backward()
        steps = y * 6 / scale + 0.5
        formula = scale * ((steps + (steps.floor() - steps).detach()) / 6).clamp(0, 1)
        (formula * weights).sum().backward()
        torch.testing.assert_close(activation(given), formula, rtol=0, atol=1e-14)
        torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-14)
        torch.testing.assert_close(activation.scale.grad, scale.grad if y.numel() else torch.tensor(0.0), rtol=1e-12, atol=1e-12)


def test_half_numbers_are_quantised_in_single_precision():
    z = torch.linspace(-1, 9, 1000).bfloat16().requires_grad_()
    a = QCFS()(z)
    assert a.dtype == torch.float32 and torch.equal(a, QCFS()(z.float()))
    a.sum().backward()
    assert z.grad.dtype == torch.bfloat16 and set(z.grad.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"levels": 0}, "QCFS.levels: got 0; must be a whole number of at least 1; L, the number of steps"),
        ({"scale": 0}, r"QCFS.scale: got 0; must be in \(0, inf\); the ceiling"),
    ],
)
def test_refusals(options, match):
    with pytest.raises(ParameterError, match=match):
        QCFS(**options)


def test_printed_form():
    assert repr(QCFS(levels=8)) == "QCFS(levels=8)"


def test_a_fitted_scale_is_the_one_with_the_nearest_steps(float64):
    """Activations on the steps of a scale have that scale, doubled ones in the layer behind twice it. Of equally likely ones from 0 to 1 it
    is 8/9 with 4 levels: the error 4 d^3 / 12 + (1 - 4 d)^3 / 3 of steps d is least at d = 2/9."""
    steps = torch.tensor([-3.0, 0, 0.25, 0.5, 0.5, 0.75, 1]).repeat(50)
    double = nn.Linear(1, 1, bias=False)
    nn.init.constant_(double.weight, 2)
    net = nn.Sequential(QCFS(4, begins="fitted"), double, QCFS(4, begins="fitted"), QCFS(4, scale=7.0))
    fit_scales(net, steps.unsqueeze(1))
    assert [net[i].scale.item() for i in (0, 2, 3)] == pytest.approx([1, 2, 7], abs=1e-15)
    assert all(m.training for m in net.modules())
    fit_scales(net[:1], torch.cat([torch.linspace(0, 1, 100_001), torch.tensor([3.0])]).unsqueeze(1))
    assert net[0].scale.item() == pytest.approx(0.9, abs=1e-15)  # of hundredths of 3


def test_what_no_input_reaches_keeps_its_scale():
    net = nn.Sequential(QCFS(scale=5.0, begins="fitted"))
    fit_scales(net, -torch.ones(4, 2))
    assert net[0].scale.item() == 5
    with pytest.raises(ParameterError, match=r"QCFS\.begins"):
        QCFS(begins="sometimes")
