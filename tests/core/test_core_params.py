"""Declared parameters: ranges, choices, counts, and how they refuse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice, Count, Param, declared, nearest


@pytest.mark.parametrize(
    "param, interval",
    [
        (Param(1.0), "(-inf, inf)"),
        (Param(1.0, low=0), "[0, inf)"),
        (Param(1.0, low=0, low_open=True, high=1), "(0, 1]"),
        (Param(0.5, low=0, high=1, high_open=True), "[0, 1)"),
    ],
)
def test_interval(param, interval):
    assert param.interval == interval


@given(value=st.floats(-3, 3), low_open=st.booleans(), high_open=st.booleans())
def test_range(value, low_open, high_open):
    torch.set_default_dtype(torch.float64)
    param = Param(0.0, low=-1, high=1, low_open=low_open, high_open=high_open)
    inside = (-1 < value < 1) or (value == -1 and not low_open) or (value == 1 and not high_open)
    if inside:
        assert param.check("p", value).item() == value
    else:
        with pytest.raises(ParameterError, match=r"p: got .*; must be in"):
            param.check("p", value)


def test_values_become_float_tensors():
    param = Param(1.0)
    assert param.check("p", 2).dtype == torch.float32
    assert param.check("p", 2).shape == ()
    assert param.check("p", [1, 2]).tolist() == [1, 2]
    assert param.check("p", torch.tensor([1.0, 2.0], dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize(
    "value, message",
    [
        (float("nan"), r"p: got nan; must be in \(0, inf\); advice"),
        (float("inf"), r"p: got inf; must be in \(0, inf\); advice"),
        ("x", "p: got 'x'; must be a number or a list with one number per channel"),
        (None, "p: got None; must be a number"),
        ([[1.0]], r"p: got \[1, 1\]; must be a scalar or one-dimensional"),
        ([], r"p: got \[0\]; must be a scalar or one-dimensional"),
        ([1.0, -1.0], r"p: got \[1.0, -1.0\]; must be in"),
    ],
)
def test_param_refusals(value, message):
    with pytest.raises(ParameterError, match=message):
        Param(1.0, low=0, low_open=True).check("p", value, "advice")


def test_the_parameters_own_text_stands_in_for_advice():
    with pytest.raises(ParameterError, match=r"p: got -1; must be in .*; how strong"):
        Param(1.0, low=0, doc="how strong").check("p", -1)


def test_choice():
    choice = Choice(("hot", "cold"), "temperature")
    assert choice.default == "hot"
    assert choice.check("p", "cold") == "cold"
    with pytest.raises(ParameterError, match="p: got 'warm'; must be one of 'hot', 'cold'; temperature"):
        choice.check("p", "warm")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "three", None, [1, 2], float("nan"), float("inf")])
def test_count_refusals(value):
    with pytest.raises(ParameterError, match=r"p: got .*; must be a whole number of at least 1; how many"):
        Count(3, doc="how many").check("p", value)


def test_count():
    assert Count(3).check("p", 4.0) == 4
    assert isinstance(Count(3).check("p", 4.0), int)


def test_declared_collects_bases_first_and_a_later_plain_value_removes():
    class Base:
        one, two = Param(1.0), Param(2.0)

    class Child(Base):
        two, three = Param(2.5), Param(3.0)
        one = 7

    assert declared(Child, Param) == {"two": Child.two, "three": Child.three}


def test_nearest():
    assert nearest("treshold", ["threshold", "decay"]) == "did you mean 'threshold'?"
    assert nearest("xyz", {"threshold": 1, "decay": 2}) == "known: decay, threshold"


def test_refusal_has_three_parts():
    assert refusal("A.b", 1, "2") == "A.b: got 1; must be 2"
    assert refusal("A.b", "x", "2", "try 3") == "A.b: got 'x'; must be 2; try 3"
