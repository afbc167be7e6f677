"""The neurons of conversion against the numbers of METHODS G.5 to G.7 and against loops in exact fractions."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom import IF, SNN, surrogates
from spikeloom.neurons import COSIF, SRPIF, AugIF, SignedIF, TerIF

eighths = st.integers(-20, 28).map(lambda k: Fraction(k, 8))
trains = st.lists(eighths, min_size=1, max_size=12)
thresholds = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(5, 4)])


def run(neuron, xs):
    """Spikes and final states, as numbers."""
    spikes, state = neuron.double().run(torch.tensor([float(x) for x in xs], dtype=torch.float64).view(-1, 1))
    return spikes.flatten().tolist(), [v.item() for v in state]


# G.6: ideal final count max(0, floor of the sum)
TABLE = [
    ([0.9, 0.3, -2, 0.4], [1, 0, 0, 0], [0, 1, -1, 0], None),
    ([1.2, 1.2, -1.5, -0.9], [1, 1, 0, 0], [1, 1, -1, -1], [1, 1, -2, 0]),
    ([3.4, -2.6, 0.5, 0.1], None, [1, -1, 1, 0], [3, -3, 1, 0]),
    ([2.5, 2.5, -4.2, 0.9], None, [1, 1, -1, 0], [2, 3, -5, 1]),
]


@pytest.mark.parametrize(("currents", "plain", "ternary", "augmented"), TABLE)
def test_the_table_of_double_thresholds(currents, plain, ternary, augmented):
    ideal = max(0, math.floor(sum(map(Fraction, map(str, currents)))))
    assert run(TerIF(), currents)[0] == ternary and sum(ternary) == ideal
    spikes = run(AugIF(), currents)[0]
    assert sum(spikes) == ideal and (augmented is None or spikes == augmented)
    counted, (v,) = run(IF(reset="subtract"), currents)
    assert counted.count(1) == {0: 1, 1: 2, 2: 1, 3: 2}[[row[0] for row in TABLE].index(currents)]
    assert v == pytest.approx(sum(currents) - sum(counted), abs=1e-12)


@pytest.mark.parametrize("threshold", [1.0, 0.5, 1.25, 2.0])
def test_augmented_counts_are_the_floor_of_the_running_sum_on_20000_streams(threshold):
    x = torch.randint(-40, 48, (12, 20_000), dtype=torch.float64) / 16
    neuron = AugIF(threshold=threshold).double()
    counts = neuron(x).cumsum(0)
    expected = (x.cumsum(0) / threshold).floor().clamp(min=0)
    assert int((counts != expected).sum()) == 0 and expected.any() and (expected == 0).any()


@given(xs=trains, threshold=thresholds, negative=st.sampled_from([Fraction(0), Fraction(1, 2), None]), memory=st.booleans())
def test_ternary_spikes_in_fractions(xs, threshold, negative, memory):
    v, count, spikes = Fraction(0), 0, []
    for x in xs:
        u = v + x
        s = 1 if u >= threshold else -1 if negative is not None and u < -negative and (count > 0 or not memory) else 0
        v, count = u - s * threshold, count + s
        spikes.append(s)
    options = {"negative": math.inf if negative is None else float(negative), "correction": "remembered" if memory else "free"}
    assert run(TerIF(threshold=float(threshold), **options), xs) == (spikes, [v, count] if memory else [v])
    assert sum(xs) == threshold * count + v


@given(
    xs=trains, threshold=thresholds, correction=st.sampled_from(["remembered", "free", "none"]),
    largest=st.sampled_from([1.0, 2.0, 2.5, math.inf]),
)  # fmt: skip
def test_augmented_spikes_in_fractions(xs, threshold, correction, largest):
    most = 10**9 if math.isinf(largest) else math.floor(largest)
    v, count, spikes = Fraction(0), 0, []
    for x in xs:
        u = v + x
        least = {"remembered": -min(count, most), "free": -most, "none": 0}[correction]
        s = max(least, min(most, math.floor(u / threshold)))
        v, count = u - s * threshold, count + s
        spikes.append(s)
    neuron = AugIF(threshold=float(threshold), correction=correction, largest=largest)
    assert run(neuron, xs) == (spikes, [v, count] if correction == "remembered" else [v])


def test_the_gradient_of_an_augmented_spike_is_its_coefficient_times_the_surrogates(float64):
    x = torch.tensor([[0.5], [2.25]]).requires_grad_()
    AugIF()(x)[1].sum().backward()
    slope = surrogates.build("atan").derivative(torch.tensor(2.75 - 1)).item()  # u = 2.75 is two spikes; the count is 0
    assert x.grad.flatten().tolist() == pytest.approx([2 * slope, 2 * slope], rel=1e-12)


@pytest.mark.parametrize("surrogate", surrogates.known)
def test_a_negative_threshold_at_infinity_passes_no_gradient(surrogate, float64):
    grads = []
    for neuron in (TerIF(negative=math.inf, surrogate=surrogate, learnable=("negative",)), IF(reset="subtract", surrogate=surrogate)):
        x = (torch.randn(6, 40, generator=torch.Generator().manual_seed(1)) + 0.5).requires_grad_()
        neuron(x).sum().backward()
        grads.append(x.grad)
    assert torch.equal(*grads) and grads[0].any()


@pytest.mark.parametrize(("current", "rate"), [(0.5, 0.5), (-0.5, -0.05), (-1.0, -0.1), (-0.0625, -0.00625)])
def test_signed_rates_are_the_leaky_relu(current, rate):
    """METHODS G.5 at slope .1, T = 1000; -.05 is moved to a number that adds up without rounding."""
    spikes = SignedIF(slope=0.1).double()(torch.full((1000, 1), current, dtype=torch.float64))
    assert spikes.sum().item() == math.trunc(1000 * rate)


@given(current=st.integers(-24, 8).map(lambda k: Fraction(k, 8)), slope=st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 8)]))
def test_signed_charge_and_the_distance_to_the_leaky_relu(current, slope):
    steps = 64
    spikes, (v,) = run(SignedIF(slope=float(slope)), [current] * steps)
    up, down = spikes.count(1), spikes.count(-1)
    assert current * steps == up - down / slope + Fraction(v)
    if current >= -1 / slope:
        leaky = current if current > 0 else slope * current
        assert abs(Fraction(up - down, steps) - leaky) < Fraction(1, steps)


def prelude(xs, threshold, start):
    """Membranes before the reset, spikes and the last membrane of a soft-reset integrator, in fractions."""
    v, us, spikes = start * threshold, [], []
    for x in xs:
        us.append(v + x)
        spikes.append(int(us[-1] >= threshold))
        v = us[-1] - threshold * spikes[-1]
    return us, spikes, v


@given(xs=st.lists(eighths, min_size=10, max_size=10), threshold=thresholds, length=st.integers(1, 6))
def test_srp_in_fractions(xs, threshold, length):
    _, first, v = prelude(xs[:length], threshold, Fraction(1, 2))
    _, rest, _ = prelude(xs[length:], threshold, Fraction(1, 2))
    mask = int(v > threshold / 1000)
    assert run(SRPIF(threshold=float(threshold), prelude=length), xs)[0] == first + [mask * s for s in rest]


@given(xs=st.lists(eighths, min_size=10, max_size=10), threshold=thresholds, length=st.integers(1, 6))
def test_cos_in_fractions(xs, threshold, length):
    us, first, v = prelude(xs[:length], threshold, Fraction(1, 2))
    start, fired = Fraction(1, 2), [u / threshold for u, s in zip(us, first, strict=True) if s]
    silent = [u / threshold for u, s in zip(us, first, strict=True) if not s]
    if v < 0 and fired:
        start -= max(1, min(fired) - Fraction("0.999"))
    elif v >= threshold:
        start += max(1, Fraction("1.001") - max(silent, default=Fraction(-1000)))
    us, rest, _ = prelude(xs[length:], threshold, start)
    if all(abs(u - threshold) > Fraction(1, 10**9) for u in us):  # .999 and 1.001 are rounded
        assert run(COSIF(threshold=float(threshold), prelude=length), xs)[0] == first + rest


UNEVEN = [0.9, 0.3, -2.0, 0.4]


def test_unevenness():
    """METHODS G.7: a spike too early ends at -.9; SRP passes nothing afterwards, COS lowers the first membrane; one too late: neither."""
    spikes, (v,) = run(IF(reset="subtract", start=0.5), UNEVEN)
    assert spikes == [1, 0, 0, 0] and v == pytest.approx(-0.9)
    spikes, (v, clock, mask, first) = run(SRPIF(), UNEVEN)
    assert (spikes, v, clock, mask, first) == ([1, 0, 0, 0], 0.5, 4, 0, 0.5)
    spikes, (v, *_) = run(COSIF(), UNEVEN)
    assert spikes == [1, 0, 0, 0] and v == -0.5
    late = [-2.0, 0.9, 0.3, 0.4]
    assert run(IF(reset="subtract", start=0.5), late)[0] == [0, 0, 0, 0]
    assert run(SRPIF(), late)[1][2] == 1 and run(COSIF(), late)[1][0] == 0.5


@pytest.mark.parametrize("cls", [SRPIF, COSIF])
def test_after_the_prelude_the_same_input_gives_the_ideal_count(cls):
    snn = SNN(cls(), steps=4, encoder=None, prelude=4)
    x = torch.tensor(UNEVEN * 2).view(8, 1, 1)
    assert not snn(x).any()


@pytest.mark.parametrize("cls", [SRPIF, COSIF])
def test_gradients_of_a_calibrated_neuron_are_finite_and_those_of_differences(cls, float64):
    neuron = cls(prelude=2, fires="smooth", surrogate="sigmoid", reset_gradient="through", learnable=("threshold", "start"))
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(2)) + 0.25
    neuron(x).sum().backward()
    with torch.no_grad():
        for parameter in (neuron.threshold, neuron.start):
            value = parameter.item()
            right, left = (parameter.fill_(value + d) and neuron(x).sum().item() for d in (1e-6, -1e-6))
            parameter.fill_(value)
            assert parameter.grad.item() == pytest.approx((right - left) / 2e-6, rel=1e-5)
    plain = cls(prelude=2, learnable=("threshold",))
    plain(x).sum().backward()
    assert plain.threshold.grad.isfinite()


def test_a_calibration_keeps_a_potential():
    neuron = SRPIF(prelude=2)
    neuron.potential = torch.tensor([0.25])
    assert neuron.run(torch.zeros(3, 1, 1))[1][0].item() == 0.75
