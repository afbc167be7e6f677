"""The first membrane of the integrators: in thresholds, per neuron, and where it is none at all."""

import copy
from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spikeloom import IF, SNN, engine, neurons
from spikeloom.core.errors import ShapeError
from spikeloom.nn.norms import TdBN

INTEGRATORS = [cls for cls in neurons.known.values() if issubclass(cls, neurons.Integrator)]
every = pytest.mark.parametrize("cls", INTEGRATORS, ids=lambda cls: cls.__name__)
eighths = st.integers(0, 12).map(lambda k: Fraction(k, 8))


@given(current=eighths, start=st.sampled_from([Fraction(0), Fraction(1, 4), Fraction(1, 2)]), threshold=st.sampled_from([0.5, 1.0, 1.25]))
def test_a_constant_current_is_counted_from_the_start(current, start, threshold):
    """METHODS G.0: N(T) = floor((T z + v(0)) / threshold), clipped to [0, T]."""
    steps, unit = 9, Fraction(threshold)
    counted = IF(reset="subtract", threshold=threshold, start=float(start))(torch.full((steps, 1), float(current))).sum()
    assert counted == min(steps, floor((steps * current + start * unit) / unit))


@every
def test_the_first_membrane_is_start_thresholds_plus_the_potential(cls):
    neuron = cls(start=[0.25, -0.5], threshold=[2.0, 1.0])
    neuron.potential = torch.arange(6.0).view(2, 3)
    membrane = neuron.initial(torch.zeros(4, 2, 3))[0]
    assert torch.equal(membrane, (torch.tensor([[0.5], [-0.5]]) + neuron.potential).expand(4, 2, 3))
    seen = neuron.trace(torch.zeros(1, 4, 2, 3))["membrane"][0, 0]
    assert torch.equal(seen, membrane)


@every
def test_the_potential_is_kept_copied_moved_and_loaded(cls):
    neuron = cls()
    assert "potential" not in neuron.state_dict()
    neuron.potential = torch.rand(2, 3)
    net = nn.Sequential(nn.Identity(), neuron)
    x = torch.rand(5, 4, 2, 3)
    other = nn.Sequential(nn.Identity(), cls())
    other.load_state_dict(net.state_dict())
    assert torch.equal(other[1].potential, neuron.potential) and torch.equal(other[1](x), neuron(x))
    assert torch.equal(copy.deepcopy(neuron)(x), neuron(x))
    assert neuron.double().potential.dtype == torch.float64
    assert neuron(x.double()).dtype == torch.float64


@every
def test_a_potential_of_another_shape_is_refused(cls):
    neuron = cls()
    neuron.potential = torch.zeros(3)
    with pytest.raises(ShapeError, match=rf"{cls.__name__}.potential: got \[3\]; must be '?\[2, 3\], the shape of one input without batch"):
        neuron(torch.zeros(5, 4, 2, 3))


def test_start_and_potential_reach_a_network_and_its_stream():
    neuron = IF(reset="subtract", start=0.5)
    neuron.potential = torch.rand(4)
    snn, x = SNN(neuron, steps=5, encoder=None), torch.rand(5, 3, 4)
    stream = snn.stream()
    whole = snn(x)
    assert torch.equal(torch.stack([stream(step) for step in x]), whole)
    v, expected = 0.5 + neuron.potential, []
    for step in x:
        u = v + step
        expected.append((u >= 1).float())
        v = u - expected[-1]
    assert torch.equal(whole, torch.stack(expected))


def test_a_plain_integrator_hands_no_state_to_its_kernel_and_takes_a_norm_into_it(monkeypatch):
    given = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda neuron, x, steps, state, *rest: given.append(state) or run(neuron, x, steps, state, *rest))
    plain, late = IF(), IF(start=0.5)
    assert plain.starts_at_zero and plain.start is None
    assert list(plain.state_dict()) == list(plain.values()) == ["threshold"]
    for neuron in (plain, late):
        neuron(torch.rand(2, 3))
    assert given[0] is None and given[1][0].eq(0.5).all()
    plain.potential = torch.zeros(3)
    assert not plain.starts_at_zero and not late.starts_at_zero and not IF(learnable=("start",)).starts_at_zero
    for neuron, count in ((IF(), 1), (IF(start=0.5), 0)):
        assert len(SNN(nn.Sequential(TdBN(3), neuron), 2).pairs()[0]) == count


def test_a_start_that_is_not_there_cannot_be_loaded():
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"start\""):
        IF().load_state_dict(IF(start=0.5).state_dict())


def test_a_learned_start(float64):
    neuron = IF(reset="subtract", fires="smooth", reset_gradient="through", surrogate="sigmoid", start=0.25, learnable=("start",))
    x = torch.rand(4, 3, 5)
    neuron(x).sum().backward()
    h, grad = 1e-6, neuron.start.grad.item()
    with torch.no_grad():
        values = [neuron.start.fill_(0.25 + d) and neuron(x).sum().item() for d in (h, -h)]
    assert grad == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_floor_keeps_the_membrane_from_falling_below_zero(reset):
    """By hand: -2 is forgotten, .75 and .5 fire; without a floor they do not."""
    x = torch.tensor([-2.0, 0.75, 0.5, -1.0, 0.5]).view(-1, 1)
    seen = IF(reset=reset, floor="zero").trace(x)
    left = 0.25 if reset == "subtract" else 0
    assert seen["membrane"].flatten().tolist() == [0, 0.75, 1.25, 0, 0.5] and left - 1 < 0
    assert seen["spikes"].flatten().tolist() == [0, 0, 1, 0, 0]
    assert not IF(reset=reset)(x).any()


def test_the_printed_form_leaves_out_a_start_of_nothing():
    assert "start" not in repr(IF()) and "start=0.5" in repr(IF(start=0.5))
