"""Every surrogate is the derivative of its primitive, of area 1, even, highest at 0, and 0 outside its window (METHODS A.2, C.3, D.3)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom import surrogates
from spikeloom.core.errors import ParameterError
from spikeloom.surrogates import ATan, Dspike, Gaussian, Rectangle, Sigmoid, Triangle

every = pytest.mark.parametrize("cls", surrogates.known.values(), ids=lambda c: c.__name__)
scales = st.floats(0.25, 4.0)


def scaled(cls, factor):
    return cls(**{name: param.default * factor for name, param in cls.params.items()})


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@every
@given(factor=scales)
def test_the_derivative_is_that_of_the_primitive(cls, factor):
    surrogate, h = scaled(cls, factor), 1e-6
    z = torch.linspace(-5, 5, 2001, dtype=torch.float64) + 1e-3 / 3
    kinks = double(0, *((-surrogate.half_support, surrogate.half_support) if math.isfinite(surrogate.half_support) else ()))
    z = z[(z[:, None] - kinks).abs().min(1).values > 10 * h]
    slope = (surrogate.primitive(z + h) - surrogate.primitive(z - h)) / (2 * h)
    torch.testing.assert_close(surrogate.derivative(z), slope, rtol=1e-6, atol=1e-8)


@every
@given(factor=scales)
def test_area_is_one(cls, factor):
    surrogate = scaled(cls, factor)
    reach = min(surrogate.half_support, 50.0)
    z = torch.linspace(-reach, reach, 40_001, dtype=torch.float64)
    inside = torch.trapezoid(surrogate.derivative(z), z).item()
    ends = surrogate.primitive(double(-1e12, -reach, reach, 1e12)).tolist()
    assert inside == pytest.approx(ends[2] - ends[1], abs=1e-4)
    assert ends[0] == pytest.approx(0, abs=1e-9)
    assert ends[3] == pytest.approx(1, abs=1e-9)
    assert inside + (ends[1] - ends[0]) + (ends[3] - ends[2]) == pytest.approx(1, abs=1e-4)


@every
@given(factor=scales)
def test_even_highest_at_zero_and_never_negative(cls, factor):
    surrogate = scaled(cls, factor)
    z = torch.linspace(0, 6, 5001, dtype=torch.float64)
    curve = surrogate.derivative(z)
    torch.testing.assert_close(surrogate.derivative(-z), curve, rtol=0, atol=1e-15)
    assert (curve >= 0).all()
    assert (curve.diff() <= 1e-15).all()
    assert surrogate.primitive(double(0.0)).item() == pytest.approx(0.5, abs=1e-15)


@every
@given(factor=scales)
def test_zero_from_the_edge_of_the_support_on_and_positive_inside(cls, factor):
    surrogate = scaled(cls, factor)
    edge = double(surrogate.half_support)
    if math.isinf(surrogate.half_support):
        assert (surrogate.derivative(double(-3.0, 3.0)) > 0).all()
        return
    outside = torch.cat([edge, edge * (1 + 1e-15), edge * 2, edge + 1e6])
    assert not surrogate.derivative(torch.cat([outside, -outside])).any()
    assert (surrogate.derivative(torch.cat([edge, -edge]) * (1 - 1e-12)) > 0).all()


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_finite_in_every_dtype(cls, dtype):
    z = torch.tensor([-1e30, -1e4, -1.0, -1e-30, 0.0, 1e-30, 0.5, 1.0, 1e4, 1e30]).to(dtype)
    for function in (cls().derivative, cls().primitive):
        values = function(z)
        assert values.shape == z.shape
        assert values.dtype == dtype
        assert values.isfinite().all()


@pytest.mark.parametrize(
    "surrogate, peak",
    [
        (Rectangle(width=1), 1.0), (Triangle(a=1), 0.5), (Sigmoid(a=1), 0.25), (Gaussian(a=1), 1 / math.sqrt(2 * math.pi)),
        (ATan(alpha=2), 1.0), (Rectangle(width=0.5), 2.0), (Triangle(a=4), 1.0), (Sigmoid(a=0.5), 0.5), (ATan(alpha=3), 1.5),
    ],
    ids=repr,
)  # fmt: skip
def test_peak(surrogate, peak):
    assert surrogate.derivative(double(0.0)).item() == pytest.approx(peak, rel=1e-12)


def test_rectangle_is_strict_at_its_seams():
    z = double(-0.5, math.nextafter(-0.5, 0), math.nextafter(0.5, 0), 0.5)
    assert Rectangle(width=1).derivative(z).tolist() == [0, 1, 1, 0]


def test_triangle_is_tets():
    gamma, z = 0.8, torch.linspace(-2, 2, 401, dtype=torch.float64)
    torch.testing.assert_close(Triangle(a=4 / gamma**2).derivative(z), (gamma - z.abs()).clamp(min=0) / gamma**2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "threshold, at_spike, at_silence", [(1.0, 1.0, 0.092), (0.5, 0.2884, 0.2884), (0.75, 0.6185, 0.1526)]
)  # METHODS C.3.2, printed to 3 or 4 digits
def test_atan_as_sew_uses_it(threshold, at_spike, at_silence):
    spike, silence = ATan(alpha=2).derivative(double(1 - threshold, 0 - threshold)).tolist()
    assert spike == pytest.approx(at_spike, abs=5e-5)
    assert silence == pytest.approx(at_silence, abs=5e-5)


# METHODS D.3: b, f(.25), f(.75), f'(.5), f'(0+), each printed to six decimals
DSPIKE = [
    (0.01, 0.249998, 0.750002, 1.000008, 0.999983),
    (1, 0.235004, 0.764996, 1.081977, 0.850918),
    (3, 0.149146, 0.850854, 1.657187, 0.299465),
    (5, 0.070104, 0.929896, 2.533918, 0.067383),
    (10, 0.006648, 0.993352, 5.000454, 0.000908),
]


@pytest.mark.parametrize("b, quarter, three_quarters, peak, edge", DSPIKE)
def test_dspike_table(b, quarter, three_quarters, peak, edge):
    dspike = Dspike(temperature=b)
    assert dspike.primitive(double(0, 0.25, 0.75, 1) - 0.5).tolist() == pytest.approx([0, quarter, three_quarters, 1], abs=5.01e-7)
    assert dspike.derivative(double(0.5, math.nextafter(0, 1)) - 0.5).tolist()[0] == pytest.approx(peak, abs=5.01e-7)
    assert dspike.derivative(double(math.nextafter(-0.5, 0))).item() == pytest.approx(edge, abs=5.01e-7)
    assert dspike.derivative(double(-0.5, 0.5)).tolist() == [0, 0]


def test_dspike_slope():
    assert Dspike(temperature=3).derivative(double(0.3 - 0.5)).item() == pytest.approx(1.179217481, abs=5e-10)


def test_names_build_surrogates():
    assert surrogates.build("atan") == ATan(alpha=2) == surrogates.build("ATan")
    mine = Rectangle(width=0.3)
    assert surrogates.build(mine) is mine
    assert mine.width == 0.3
    assert mine != Rectangle(width=0.4)
    assert len({mine, Rectangle(width=0.3)}) == 1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: surrogates.build("atann"), "surrogate: got 'atann'; did you mean 'atan'"),
        (lambda: surrogates.build(3), "surrogate: got '3'; known: atan, dspike"),
        (lambda: Rectangle(widht=1), "Rectangle: no parameter 'widht'; did you mean 'width'"),
        (lambda: Rectangle(width=0), r"Rectangle.width: got 0; must be in \(0, inf\)"),
        (lambda: Dspike(temperature=41), r"Dspike.temperature: got 41; must be in \(0, 40\]"),
        (lambda: Rectangle(width=[1.0, 2.0]), r"Rectangle.width: got \[1.0, 2.0\]; must be one number"),
        (lambda: ATan(alpha=math.nan), "ATan.alpha: got nan"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_a_surrogate_without_curves_says_so():
    class Empty(surrogates.Surrogate):
        pass

    for method in (Empty().derivative, Empty().primitive):
        with pytest.raises(NotImplementedError):
            method(torch.zeros(1))
