"""The rules against numbers worked by hand, closed forms and each other."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.plasticity import diehl_cook, pair, reward, triplet

F64 = torch.float64


def spikes(times, steps, dt):
    train = torch.zeros(steps, dtype=torch.bool)
    train[[round(t / dt) for t in times]] = True
    return train


def course(rule, constants, pre, post, steps, dt=0.5, start=0.3, **more):
    """Weights of one synapse after each step; pre and post: times in ms."""
    w = torch.full((1, 1), start, dtype=F64)
    traces, found = rule.start(w, torch.zeros(1, dtype=torch.bool)), []
    for a, b in zip(spikes(pre, steps, dt), spikes(post, steps, dt), strict=True):
        w, traces = rule.update(w, traces, a.view(1), b.view(1), dt, constants=constants, **more)
        found.append(w.item())
    return found


def test_diehl_cook_sequence():
    # pre at 0, post at 5 (no post before it), post at 15, pre at 30 ms
    w = course(diehl_cook, None, [0, 30], [5, 15], 61)
    assert w[0] == w[10] == 0.3
    assert w[30] == pytest.approx(0.3 + 1e-2 * math.exp(-15 / 20) * math.exp(-10 / 40), abs=1e-9)
    assert w[30] == pytest.approx(0.30367879, abs=1e-8) and w[60] == pytest.approx(0.30363156, abs=1e-8)
    assert w[60] == pytest.approx(w[30] - 1e-4 * math.exp(-15 / 20), abs=1e-9)


def test_diehl_cook_sets_traces_where_others_add():
    twice, once = (course(diehl_cook, None, pre, [2, 10], 21) for pre in ([0, 4], [4]))
    assert twice[20] == pytest.approx(once[20], abs=1e-12)
    assert twice[20] == pytest.approx(0.3 - 1e-4 * math.exp(-2 / 20) + 1e-2 * math.exp(-6 / 20) * math.exp(-8 / 40), abs=1e-12)


def test_delays_of_their_own_are_two_synapses_with_shifted_spikes():
    w = torch.full((1, 2), 0.3, dtype=F64)
    traces = diehl_cook.start(w, torch.zeros(1, 2, dtype=torch.bool))
    for t in range(40):
        arrivals = torch.tensor([[t == 0, t == 8]])
        w, traces = diehl_cook.update(w, traces, arrivals, torch.tensor([t in (10, 30)] * 2), 0.5)
    assert w[0, 0].item() == pytest.approx(course(diehl_cook, None, [0], [5, 15], 40)[-1], abs=1e-15)
    assert w[0, 1].item() == pytest.approx(course(diehl_cook, None, [4], [5, 15], 40)[-1], abs=1e-15)


def test_pair_window():
    lags = torch.tensor([10.0, -10.0, 0.0, 40.0], dtype=F64)
    expected = [0.01 * math.exp(-0.5), -0.012 * math.exp(-0.5), 0.0, 0.01 * math.exp(-2)]
    assert pair.window(lags).tolist() == pytest.approx(expected, abs=1e-9)
    assert pair.window(lags[:2]).tolist() == pytest.approx([0.00606531, -0.00727837], abs=1e-8)


@given(lag=st.integers(-80, 80))
def test_pair_traces_compute_the_window(lag):
    change = course(pair, None, [50], [50 + 0.5 * lag], 200)[-1] - 0.3
    assert change == pytest.approx(pair.window(torch.tensor(0.5 * lag, dtype=F64)).item(), abs=1e-9)


@given(first=st.lists(st.integers(0, 99), max_size=6, unique=True), second=st.lists(st.integers(0, 99), max_size=6, unique=True))
def test_mirrored_order_has_the_mirrored_sign(first, second):
    even = pair.Constants(gain=0.01, loss=0.01, low=-9.0, high=9.0)
    there, back = (course(pair, even, [0.5 * t for t in a], [0.5 * t for t in b], 100)[-1] for a, b in ((first, second), (second, first)))
    assert there - 0.3 == pytest.approx(0.3 - back, abs=1e-9)


def test_all_pairs_add_up_and_the_nearest_pair_stands_alone():
    every = course(pair, None, [0, 10], [20], 60)[-1] - 0.3
    assert every == pytest.approx(pair.window(torch.tensor([20.0, 10.0], dtype=F64)).sum().item(), abs=1e-9)
    nearest = course(pair, pair.Constants(pairing="nearest"), [0, 10], [20], 60)[-1] - 0.3
    assert nearest == pytest.approx(pair.window(torch.tensor(10.0, dtype=F64)).item(), abs=1e-9)


def test_triplet_terms_by_hand():
    c = triplet.Constants(gain=1e-3, gain3=6.5e-3, loss=7.1e-3, loss3=2e-3)
    # pre 0, post 10, post 30: two pairs, and the triplet post-pre-post of the last
    found = course(triplet, c, [0], [10, 30], 80)[-1] - 0.3
    assert found == pytest.approx(1e-3 * math.exp(-10 / 16.8) + math.exp(-30 / 16.8) * (1e-3 + 6.5e-3 * math.exp(-20 / 114)), abs=1e-9)
    # post 0, pre 10, pre 30
    found = course(triplet, c, [10, 30], [0], 80)[-1] - 0.3
    assert found == pytest.approx(-7.1e-3 * math.exp(-10 / 33.7) - math.exp(-30 / 33.7) * (7.1e-3 + 2e-3 * math.exp(-20 / 101)), abs=1e-9)


@given(pre=st.lists(st.integers(0, 99), max_size=6, unique=True), post=st.lists(st.integers(0, 99), max_size=6, unique=True))
def test_triplets_without_triplets_are_pairs(pre, post):
    taus = {"tau_pre": 16.8, "tau_post": 33.7}
    a = course(triplet, triplet.Constants(gain=5e-3, gain3=0, loss=7e-3, loss3=0), [0.5 * t for t in pre], [0.5 * t for t in post], 100)
    b = course(pair, pair.Constants(gain=5e-3, loss=7e-3, **taus), [0.5 * t for t in pre], [0.5 * t for t in post], 100)
    assert a == pytest.approx(b, abs=1e-12)


def test_reward_turns_eligibility_into_weight():
    c = reward.Constants(tau=200.0)
    assert course(reward, c, [0], [10], 60, reward=0.0)[-1] == 0.3
    w = torch.full((1, 1), 0.3, dtype=F64)
    traces = reward.start(w, torch.zeros(1, dtype=torch.bool))
    for t in range(101):  # the reward lasts one step, 40 ms after the pair
        w, traces = reward.update(w, traces, torch.tensor([t == 0]), torch.tensor([t == 20]), 0.5, 2.0 if t == 100 else 0.0, c)
    assert w.item() - 0.3 == pytest.approx(0.01 * math.exp(-10 / 20) * math.exp(-40 / 200) * 2 * 0.5, abs=1e-9)


@pytest.mark.parametrize("rule", [pair, triplet, diehl_cook, reward])
@given(seed=st.integers(0, 10**6))
def test_weights_stay_in_bounds_and_nothing_changes_in_place(rule, seed):
    g = torch.Generator().manual_seed(seed)
    w = torch.rand(5, 3, generator=g, dtype=F64)
    more = {"reward": 300.0} if rule is reward else {}
    pre = torch.rand(20, 5, 3, generator=g) < 0.4
    traces = rule.start(w, pre[0])
    for step in range(20):
        post, before = torch.rand(3, generator=g) < 0.4, w.clone()
        new, traces = rule.update(w, traces, pre[step], post, 1.0, **more)
        assert torch.equal(w, before) and new.shape == w.shape and new.min() >= 0 and new.max() <= 1
        w = new


@pytest.mark.parametrize("rule", [pair, triplet, diehl_cook])
def test_silence_changes_nothing(rule):
    w, quiet = torch.rand(4, 3, dtype=F64), torch.zeros(4, dtype=torch.bool)
    assert torch.equal(rule.update(w, rule.start(w, quiet), quiet, quiet[:3], 1.0)[0], w)


@pytest.mark.parametrize("rule", [pair, triplet, diehl_cook])
def test_refusals(rule):
    w, quiet = torch.rand(4, 3, dtype=F64), torch.zeros(4, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"'post': \[4\].*must be weights \[in, out\], pre \[in\] or \[in, out\], post \[out\]"):
        rule.update(w, rule.start(w, quiet), quiet, quiet, 1.0)
    with pytest.raises(ParameterError, match="tau_pre: got 0.0; must be positive and finite"):
        rule.Constants(tau_pre=0.0)
    with pytest.raises(ParameterError, match=r"low, high: got \(1.0, 0.5\); must be in this order"):
        rule.Constants(low=1.0, high=0.5)


def test_refusals_of_one_rule():
    with pytest.raises(ParameterError, match="tau: got inf; must be positive and finite"):
        reward.Constants(tau=math.inf)
    with pytest.raises(ParameterError, match="pairing: got 'some'; must be one of 'all', 'nearest'"):
        pair.Constants(pairing="some")
