"""Receptive fields, the temporal sigmoid and the learning window against their formulas."""

import math

import pytest
import torch

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.timing.first_spike_clusters import first_spike_update, learning_window
from spikeloom.timing.receptive_fields import fields, population_times
from spikeloom.timing.temporal_sigmoid import temporal_sigmoid, time_of, value_of

pytestmark = pytest.mark.usefixtures("float64")


def test_eight_fields_over_zero_to_ten():
    centres, width = fields(0.0, 10.0)
    expected = [-5 / 6, 5 / 6, 2.5, 25 / 6, 35 / 6, 7.5, 55 / 6, 65 / 6]
    assert centres.tolist() == pytest.approx(expected, abs=1e-9)
    assert width.item() == pytest.approx(10 / 9, abs=1e-9)


def test_high_activation_is_early_and_low_is_silent():
    times = population_times(torch.tensor([[2.5], [0.0]]), 0.0, 10.0)
    spacing = math.exp(-((5 / 3) ** 2) / (2 * (10 / 9) ** 2))  # activation one field away, 0.3247
    off = math.inf
    assert times[0].tolist() == pytest.approx([off, 10 * (1 - spacing), 0, 10 * (1 - spacing), off, off, off, off], abs=1e-9)
    assert times[1, :2].tolist() == pytest.approx([10 * (1 - math.exp(-(0.75**2) / 2))] * 2, abs=1e-9)
    ranges = torch.tensor([0.0, -1.0]), torch.tensor([10.0, 1.0])
    assert population_times(torch.tensor([[2.5, 0.0]]), *ranges, count=5).shape == (1, 10)
    assert population_times(torch.tensor([[2.5]]), 0.0, 10.0, cut=0.0, span=4.0).max() <= 4


def test_fields_refuse_what_they_cannot_code():
    with pytest.raises(ParameterError, match=r"fields.count: got 2; must be a whole number of at least 3"):
        fields(0.0, 1.0, 2)
    with pytest.raises(ParameterError, match=r"fields: got \(1.0, 1.0\); must be low < high; drop features"):
        fields(1.0, 1.0)
    with pytest.raises(ParameterError, match=r"fields.beta: got 0"):
        fields(0.0, 1.0, beta=0)
    with pytest.raises(ShapeError, match=r"population_times: got \[3\]; must be a table"):
        population_times(torch.zeros(3), 0.0, 1.0)
    with pytest.raises(ParameterError, match=r"population_times.cut: got 2"):
        population_times(torch.zeros(1, 1), 0.0, 1.0, cut=2)
    with pytest.raises(ParameterError, match=r"population_times.span: got 0"):
        population_times(torch.zeros(1, 1), 0.0, 1.0, span=0)


def test_the_worked_unit():
    x, weight = torch.tensor([[0.4, 0.8]]), torch.tensor([[0.5, 0.25]])
    t_in = time_of(x, 10.0)
    t, end = temporal_sigmoid(t_in, weight, torch.zeros(1), 10.0)
    assert t.item() == pytest.approx(11.6, abs=1e-12)
    assert value_of(t, end).item() == pytest.approx(0.4, abs=1e-12)
    potential = (weight * (t - t_in)).sum() + 0.25 * (t - 10.0)
    assert potential.item() == pytest.approx(2.0, abs=1e-12)


def test_the_unit_is_a_piecewise_linear_sigmoid():
    x, weight, bias = torch.rand(50, 3), 3 * torch.randn(4, 3), torch.randn(4)
    t, end = temporal_sigmoid(time_of(x, 7.0, 2.0), weight, bias, 7.0, width=2.0, total=1.5, threshold=4.0)
    expected = ((x @ weight.T + bias) / 1.5).clamp(0, 1)
    torch.testing.assert_close(value_of(t, end, 2.0), expected, atol=1e-12, rtol=0)
    assert ((expected == 0).any(), (expected == 1).any()) == (True, True)


def test_the_unit_refuses_what_breaks_its_premises():
    unit = torch.tensor([[0.5]]), torch.zeros(1), 10.0
    with pytest.raises(ParameterError, match=r"temporal_sigmoid spikes: got \[12.0, 12.0\]; must be in \[9, 10\]"):
        temporal_sigmoid(torch.tensor([[12.0]]), *unit)
    with pytest.raises(ParameterError, match=r"temporal_sigmoid.threshold: got 0.5; must be at least total \* width = 1"):
        temporal_sigmoid(torch.tensor([[9.5]]), *unit, threshold=0.5)
    with pytest.raises(ShapeError, match=r"temporal_sigmoid: got .*; must be times \[B, in\], weights"):
        temporal_sigmoid(torch.tensor([[9.5, 9.5]]), *unit)
    with pytest.raises(ParameterError, match=r"temporal_sigmoid.width: got 0"):
        temporal_sigmoid(torch.tensor([[9.5]]), *unit, width=0)
    with pytest.raises(ParameterError, match=r"temporal_sigmoid.total: got 0"):
        temporal_sigmoid(torch.tensor([[9.5]]), *unit, total=0)
    with pytest.raises(ParameterError, match=r"time_of: got \[-0.5, 2.0\]; must be in \[0, 1\]; scale"):
        time_of(torch.tensor([-0.5, 2.0]), 1.0)
    with pytest.raises(ParameterError, match=r"time_of.width: got -1"):
        time_of(torch.tensor([0.5]), 1.0, -1)


def test_the_learning_window():
    root = 1.67 * math.sqrt(math.log(6))
    assert root == pytest.approx(1.67 * 1.33857, abs=1e-5)
    at = learning_window(torch.tensor([-2.85, math.inf, -math.inf, -2.85 - root, -2.85 + root]))
    assert at.tolist() == pytest.approx([1, -0.2, -0.2, 0, 0], abs=1e-12)


def test_only_the_first_to_fire_learns():
    weight, delays = torch.full((2, 2, 3), 0.5), torch.tensor([0.0, 1.0, 7.15])
    t_in, t_out = torch.tensor([0.0, math.inf]), torch.tensor([10.0, 12.0])
    after = first_spike_update(weight, t_in, t_out, delays, rate=0.1)
    assert torch.equal(after[1], weight[1])
    assert after[0, 0, 2].item() == pytest.approx(0.6, abs=1e-12)  # arrived 2.85 ms before the spike
    assert after[0, 1].tolist() == pytest.approx([0.48] * 3, abs=1e-12)
    assert torch.equal(first_spike_update(weight, t_in, t_out, delays, silent_inputs="keep")[0, 1], weight[0, 1])
    assert first_spike_update(weight, t_in, t_out, delays, rate=9.0)[0].aminmax() == (0.0, 1.0)
    assert torch.equal(first_spike_update(weight, t_in, torch.full((2,), math.inf), delays), weight)


def test_the_rule_refuses_what_it_cannot_apply():
    weight, t_in, t_out, delays = torch.zeros(2, 2, 3), torch.zeros(2), torch.zeros(2), torch.zeros(3)
    with pytest.raises(ShapeError, match=r"first_spike_update: got .*; must be weights \[out, in, K\]"):
        first_spike_update(weight, t_in, t_out, delays[:2])
    for name in ("rate", "w_max"):
        with pytest.raises(ParameterError, match=rf"first_spike_update.{name}: got -1"):
            first_spike_update(weight, t_in, t_out, delays, **{name: -1})
    with pytest.raises(ParameterError, match=r"first_spike_update.silent_inputs: got 'grow'"):
        first_spike_update(weight, t_in, t_out, delays, silent_inputs="grow")
    with pytest.raises(ParameterError, match=r"learning_window.beta: got 0"):
        learning_window(t_in, beta=0)
