"""What a neuron says to a wrong argument: the value, what is allowed, what to do."""

import pytest
import torch

from spikeloom import LIF, MLF, PLIF, Neuron
from spikeloom.core.errors import ParameterError, ShapeError, SpikeloomError


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: LIF(decay=1.7), r"^LIF.decay: got 1.7; must be in \(0, 1\]; did you mean tau=1.7 \(decay=0.41\)\?$"),
        (lambda: LIF(decay=0), r"LIF.decay: got 0; must be in \(0, 1\]; share of the membrane kept"),
        (lambda: LIF(decay=[0.5, 2.0]), r"LIF.decay: got \[0.5, 2.0\]; must be in"),
        (lambda: LIF(threshold="high"), "LIF.threshold: got 'high'; must be a number or a list with one number per channel"),
        (lambda: LIF(threshold=[[1.0]]), r"LIF.threshold: got \[1, 1\]; must be a scalar or one-dimensional"),
        (lambda: LIF(threshold=[]), r"LIF.threshold: got \[0\]; must be a scalar or one-dimensional"),
        (lambda: LIF(threshold=float("inf")), r"LIF.threshold: got inf; must be in \(0, inf\)"),
        (lambda: LIF(tau=1.0), r"LIF.tau: got 1.0; must be in \(1, inf\)"),
        (lambda: LIF(tau=2.0, decay=0.5), r"LIF: got tau=2.0 and decay=0.5; give one of them \(decay = 1 - 1/tau\)"),
        (lambda: LIF(treshold=1.0), "LIF: no parameter 'treshold'; did you mean 'threshold'"),
        (lambda: LIF(learnable=("tau",)), "LIF.learnable: no parameter 'tau'; known: decay, threshold"),
        (lambda: LIF(reset="soft"), "LIF.reset: got 'soft'; must be one of 'zero', 'subtract'; after a spike the membrane goes to 0"),
        (lambda: LIF(surrogate="atam"), "surrogate: got 'atam'; did you mean 'atan'"),
        (lambda: PLIF(tau=1.0), r"PLIF.tau: got 1.0; must be in \(1, inf\); tau = 1 would forget everything"),
        (lambda: PLIF(decay=0.5), "PLIF: no parameter 'decay'"),
        (lambda: MLF(levels=0), "MLF.levels: got 0; must be a whole number of at least 1; K, the largest number"),
        (lambda: MLF(levels="three"), "MLF.levels: got 'three'; must be a whole number"),
        (lambda: MLF(levels=True), "MLF.levels: got True; must be a whole number"),
    ],
)
def test_parameters(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda n: n(torch.zeros(5)), r"LIF input: got \[5\]; must be \[T, B, ...\]; add a time and a batch axis"),
        (lambda n: n(torch.zeros(0, 5)), r"LIF input: got \[0, 5\]; must be \[T, B, ...\]"),
        (lambda n: n.trace(torch.zeros(7, 5), steps=4), r"LIF input: got \[7, 5\]; must be \[T\*B, ...\] with T = 4"),
    ],
)
def test_shapes(call, message):
    with pytest.raises(ShapeError, match=message):
        call(LIF())


def test_folded_time_must_divide():
    neuron = LIF()
    neuron.steps = 4
    with pytest.raises(ShapeError, match=r"LIF input: got \[6, 5\]; must be \[T\*B, ...\] with T = 4; wrap the network in SNN"):
        neuron(torch.zeros(6, 5))


def test_channels_must_fit():
    with pytest.raises(ShapeError, match=r"LIF.threshold: got '3 channels'; must be .*\[5\].* for input \[8, 5\]"):
        LIF(threshold=[0.5, 0.6, 0.7])(torch.zeros(4, 2, 5))


def test_a_neuron_without_a_step_says_so():
    with pytest.raises(NotImplementedError):
        Neuron().step(torch.zeros(1), (torch.zeros(1),), None)


def test_every_refusal_is_a_spikeloom_error_and_a_value_error():
    assert issubclass(ParameterError, SpikeloomError)
    assert issubclass(SpikeloomError, ValueError)


def test_printed_form_names_the_choices():
    shown = repr(MLF(threshold=[0.5, 0.6], learnable=("decay",)))
    parts = "decay=0.25", "threshold=[2 channels]", "levels=3", "reset='zero'", "surrogate=Rectangle(width=1)", "learnable=('decay',)"
    assert all(part in shown for part in parts)


def test_learnable_parameters_are_parameters_and_the_others_buffers():
    neuron = LIF(learnable=("decay",))
    assert [name for name, _ in neuron.named_parameters()] == ["decay"]
    assert [name for name, _ in neuron.named_buffers()] == ["threshold"]


def test_one_learnable_name_needs_no_tuple():
    assert LIF(learnable="decay").learnable == ("decay",)
    with pytest.raises(ParameterError, match="LIF.learnable: no parameter 'decya'; did you mean 'decay'"):
        LIF(learnable="decya")
