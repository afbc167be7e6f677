"""Neurons against an independent simulation in exact fractions, and against closed forms."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom import IF, LIF, MLF, PLIF

eighths = st.integers(-16, 24).map(lambda k: Fraction(k, 8))
thresholds = st.sampled_from([Fraction(1, 2), Fraction(3, 4), Fraction(1), Fraction(5, 4)])
decays = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 4)])
resets = st.sampled_from(["zero", "subtract"])
fires = st.sampled_from(["above", "at_or_above"])
trains = st.lists(eighths, min_size=1, max_size=9)


def simulate(xs, threshold, reset, fires, decay=Fraction(1), drive="raw"):
    """Spikes and final membrane of one integrator, in fractions."""
    v, spikes = Fraction(0), []
    for x in xs:
        u = decay * v + (x if drive == "raw" else (1 - decay) * x)
        s = u > threshold or (fires == "at_or_above" and u == threshold)
        v = u - threshold * s if reset == "subtract" else u * (1 - s)
        spikes.append(int(s))
    return spikes, v


def run(neuron, xs):
    spikes, state = neuron.double().run(torch.tensor([float(x) for x in xs], dtype=torch.float64).view(-1, 1))
    return spikes.flatten().tolist(), [v.item() for v in state]


@given(xs=trains, threshold=thresholds, reset=resets, fires=fires)
def test_if(xs, threshold, reset, fires):
    spikes, v = simulate(xs, threshold, reset, fires)
    assert run(IF(threshold=float(threshold), reset=reset, fires=fires), xs) == (spikes, [v])


@given(xs=trains, threshold=thresholds, reset=resets, fires=fires, decay=decays, drive=st.sampled_from(["raw", "leak_scaled"]))
def test_lif(xs, threshold, reset, fires, decay, drive):
    spikes, v = simulate(xs, threshold, reset, fires, decay, drive)
    assert run(LIF(decay=float(decay), threshold=float(threshold), reset=reset, fires=fires, drive=drive), xs) == (spikes, [v])


@given(xs=trains, threshold=thresholds, reset=resets)
def test_plif_at_tau_two(xs, threshold, reset):
    spikes, v = simulate(xs, threshold, reset, "at_or_above", Fraction(1, 2), "leak_scaled")
    assert run(PLIF(tau=2.0, threshold=float(threshold), reset=reset), xs) == (spikes, [v])


@given(xs=trains, threshold=thresholds, reset=resets, decay=decays, levels=st.sampled_from([2, 4]), spacing=thresholds)
def test_mlf(xs, threshold, reset, decay, levels, spacing):
    each = [simulate(xs, threshold + k * spacing, reset, "above", decay) for k in range(levels)]
    options = {"levels": levels, "threshold": float(threshold), "spacing": float(spacing), "decay": float(decay)}
    spikes = [sum(column) for column in zip(*(spikes for spikes, _ in each), strict=True)]
    assert run(MLF(**options, reset=reset), xs) == (spikes, [v for _, v in each])


@given(xs=trains, start=eighths, threshold=thresholds)
def test_charge_is_conserved_exactly(xs, start, threshold):
    for neuron in (IF(threshold=float(threshold), reset="subtract"), LIF(decay=1.0, threshold=float(threshold), reset="subtract")):
        x = torch.tensor([float(v) for v in xs]).view(-1, 1)
        spikes, (v,) = neuron.run(x, (torch.full((1,), float(start)),))
        assert sum(xs) == threshold * Fraction(int(spikes.sum())) + Fraction(v.item()) - start


@given(current=st.integers(1, 16), steps=st.integers(1, 40))
def test_if_counts_the_quotient_of_a_constant_current(current, steps):
    spikes = IF(reset="subtract")(torch.full((steps, 1), current / 16))
    assert spikes.sum() == current * steps // 16


@given(current=st.floats(0.01, 0.39), decay=st.floats(0.05, 0.95), drive=st.sampled_from(["raw", "leak_scaled"]))
def test_lif_below_threshold_is_a_geometric_sum(current, decay, drive):
    torch.set_default_dtype(torch.float64)
    seen = LIF(decay=decay, threshold=100.0, drive=drive).trace(torch.full((30, 1), current))
    power = 1 - decay ** torch.arange(1, 31)
    torch.testing.assert_close(seen["membrane"].flatten(), current * (power / (1 - decay) if drive == "raw" else power), rtol=1e-12, atol=0)
    assert not seen["spikes"].any()


@given(current=st.floats(0.3, 0.9), decay=st.floats(0.3, 0.95))
def test_lif_under_constant_current_fires_with_one_period(current, decay):
    torch.set_default_dtype(torch.float64)
    ramp = [current * (1 - decay**n) / (1 - decay) for n in range(1, 41)]
    period = next((n for n, u in enumerate(ramp, 1) if u > 1), None)
    if any(abs(u - 1) < 1e-9 for u in ramp):
        return
    spikes = LIF(decay=decay, threshold=1.0)(torch.full((40, 1), current)).flatten()
    assert spikes.tolist() == [float(period is not None and t % period == 0) for t in range(1, 41)]


@pytest.mark.parametrize("levels", [1, 3])
def test_mlf_of_one_level_is_lif_and_no_unit_exceeds_its_levels(levels):
    x = 3 * torch.randn(20, 64)
    spikes = MLF(levels=levels)(x)
    assert spikes.max() == levels
    if levels == 1:
        assert torch.equal(spikes, LIF(decay=0.25, threshold=0.6)(x))
