"""Each contract catches the mistake it is there for, and says so in a sentence. Long, because each mistake is a neuron of its own."""

import copy

import pytest
import torch

from spikeloom import Neuron
from spikeloom.core.errors import ParameterError
from spikeloom.core.params import Choice, Param
from spikeloom.neurons import IF, LIF
from spikeloom.testing import UNSUPPORTED, check_neuron, contracts, hold


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """What is tested here is the contracts, not a backend."""
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")


class WrongTrace(LIF):
    hand_trace = {**LIF.hand_trace, "spikes": [0, 0, 0, 1, 1, 0, 0, 0]}


class WrongMembrane(LIF):
    hand_trace = {**LIF.hand_trace, "membrane": [0.3, 0.36, 0.37201, 0.5244, 0.6, 0.1, 0.97, 0.2]}


class WrongReduction(LIF):
    reduces_to = (({"decay": 0.9, "threshold": 1.0}, "IF", {"fires": "above", "reset_gradient": "through", "surrogate": "rectangle"}),)


class WrongGradientReduction(LIF):
    reduces_to = (({"decay": 1.0, "threshold": 1.0}, "IF", {"fires": "above", "reset_gradient": "detached", "surrogate": "rectangle"}),)


class UnknownReduction(LIF):
    reduces_to = (({}, "Nothing", {}),)


class Leaks(IF):
    def step(self, x, state, p):
        return super().step(x, (0.9 * state[0],), p)


class ForgetsFires(LIF):
    """Always strictly above, whatever `fires` says."""

    def fire(self, membrane, threshold):
        twin = copy.copy(self)
        twin.fires = "smooth" if self.fires == "smooth" else "above"
        return Neuron.fire(twin, membrane, threshold)


class Remembers(LIF):
    """Keeps its state from call to call, as a neuron that needs a reset would."""

    def forward(self, x):
        spikes, kept = self.run(x, getattr(self, "kept", None))
        self.kept = tuple(v.detach() for v in kept)
        return spikes


class DropsState(LIF):
    def run(self, x, state=None):
        return super().run(x, None)


class LooksAhead(LIF):
    def run(self, x, state=None):
        return super().run(x + 0.5 * x[-1:], state)


class MixesBatch(LIF):
    def run(self, x, state=None):
        return super().run(x + x.mean(1, keepdim=True), state)


class MixesFeatures(LIF):
    def step(self, x, state, p):
        return super().step(x + x.flatten(1).mean(1).view(-1, *[1] * (x.dim() - 1)), state, p)


class LosesShape(LIF):
    def run(self, x, state=None):
        spikes, state = super().run(x, state)
        return spikes.flatten(1), state


class LosesDtype(LIF):
    def run(self, x, state=None):
        spikes, state = super().run(x, state)
        return spikes.float(), state


class ReadsMemory(LIF):
    """Sums in the order of memory, not of the axes."""

    def _run(self, x, steps, *rest, **named):
        if not x.is_contiguous():
            x = torch.as_strided(x, x.shape, x.contiguous().stride()).clone()
        return super()._run(x, steps, *rest, **named)


class WritesInput(LIF):
    def run(self, x, state=None):
        with torch.no_grad():
            x.mul_(1.0).add_(1e-3)
        return super().run(x, state)


class OutsideOnly(LIF):
    """Another threshold inside an SNN."""

    def _run(self, x, steps, *rest, **named):
        return super()._run(x if self.steps is None else 2 * x, steps, *rest, **named)


class NoStream(LIF):
    """Starts afresh at every step of a stream."""

    def forward(self, x):
        return self.run(x)[0] if self.steps is None else self._run(x, 1 if x.shape[0] % self.steps else self.steps, None)[0]


class LastAxis(LIF):
    """One value per channel on the last axis instead of axis 1."""

    def _shaped(self, x):
        from types import SimpleNamespace

        return SimpleNamespace(**{n: v if v.dim() == 0 else v[: x.shape[-1]] for n, v in self.values().items()})


class Halves(LIF):
    """Computes in the input's own 16 bits."""

    def run(self, x, state=None):
        if x.dtype in (torch.bfloat16, torch.float16):
            x = (x * 1.01).to(x.dtype)
        return super().run(x, state)


class WrongDerivative(LIF):
    """A straight-through factor that gradcheck must see."""

    def fire(self, membrane, threshold):
        s = super().fire(membrane, threshold)
        return s + (0.1 * membrane - (0.1 * membrane).detach())


class NeverDetaches(LIF):
    def reset_membrane(self, membrane, spike, threshold):
        kept, self.reset_gradient = self.reset_gradient, "through"
        try:
            return super().reset_membrane(membrane, spike, threshold)
        finally:
            self.reset_gradient = kept


class CutsThreshold(LIF):
    def step(self, x, state, p):
        p.threshold = p.threshold.detach()
        return super().step(x, state, p)


class TakesAnything(Neuron):
    """A range that is declared and never checked."""

    threshold = Param(1.0, low=0, low_open=True)

    def __init__(self, **values):
        loose = {name: values.pop(name) for name in list(values) if name == "threshold"}
        super().__init__(**values)
        if loose:
            self.threshold = torch.as_tensor(loose["threshold"])

    def step(self, x, state, p):
        u = state[0] + x
        s = self.fire(u, p.threshold)
        return s, (self.reset_membrane(u, s, p.threshold),)


class SaysLittle(LIF):
    def __init__(self, **values):
        try:
            super().__init__(**values)
        except ParameterError:
            raise ParameterError("bad value") from None


class IgnoresNames(LIF):
    def __init__(self, **values):
        super().__init__(**{name: value for name, value in values.items() if name != "nonsense"})


class TakesAnyShape(LIF):
    def run(self, x, state=None):
        return super().run(x if x.dim() > 1 else x.view(1, -1), state)


class Crashes(LIF):
    def step(self, x, state, p):
        raise RuntimeError("no luck")


class Silent(LIF):
    def fire(self, membrane, threshold):
        return super().fire(membrane * 0, threshold)


class OneReset(LIF):
    """Offers fewer choices than the base class; contracts on the others do not apply."""

    reset = Choice(("zero",))
    reset_gradient = Choice(("through",))
    fires = Choice(("above",))
    reduces_to = ()


BROKEN = [
    (WrongTrace, "hand trace", "spikes of the hand trace.* 1 of 8 values differ"),
    (WrongMembrane, "hand trace", "membranes of the hand trace.* off by"),
    (WrongReduction, "reductions", "spikes with .* as IF"),
    (WrongGradientReduction, "reductions", "input gradients with .* as IF"),
    (UnknownReduction, "reductions", "reduces_to names 'Nothing'"),
    (Leaks, "charge conservation", "sum x = sum threshold s"),
    (ForgetsFires, "threshold hits", "places where"),
    (Remembers, "fresh calls", "second call"),
    (DropsState, "chunks", "spikes of 4 [+] 4 steps"),
    (LooksAhead, "one step", "spikes of a run of one step"),
    (MixesBatch, "batch order", "spikes of one sample alone"),
    (MixesFeatures, "not a number", "spikes of the other neurons"),
    (LosesShape, "shapes", "have shape"),
    (LosesDtype, "half precision", "dtype torch.float32 instead of torch.bfloat16"),
    (ReadsMemory, "layouts", "spikes of channels-last input"),
    (WritesInput, "purity", "an input, state or parameter after the call"),
    (OutsideOnly, "inside a network", "spikes inside an SNN"),
    (NoStream, "stream", "spikes of the first stream"),
    (LastAxis, "per channel", "spikes of channel 0, parameters times 1, against it alone"),
    (Halves, "half precision", "spikes of bfloat16 input"),
    (LooksAhead, "backends", "spikes of 1 neurons in torch.float32"),
    (WrongDerivative, "smooth gradients", "gradcheck with reset='zero'"),
    (NeverDetaches, "detached gradients", "gradient of .* detached"),
    (CutsThreshold, "per channel gradients", "gradient of threshold per channel"),
    (TakesAnything, "bad parameters", "was not refused"),
    (SaysLittle, "bad parameters", "does not say"),
    (IgnoresNames, "unknown names", "'nonsense'.* was not refused"),
    (TakesAnyShape, "bad shapes", "was not refused"),
    (Crashes, "fresh calls", "raised RuntimeError: no luck"),
    (Silent, "fresh calls", "no normal input"),
]


@pytest.mark.parametrize("neuron_class, contract, sentence", BROKEN, ids=lambda v: getattr(v, "__name__", str(v)[:20]))
def test_the_contract_catches_it(neuron_class, contract, sentence):
    with pytest.raises(AssertionError, match=f"{neuron_class.__name__}, contract '{contract}'.*(?s:{sentence})"):
        hold(contract, neuron_class)


def test_every_contract_has_caught_something():
    assert {name for name, _ in contracts} == {contract for _, contract, _ in BROKEN}


def test_contracts_on_choices_that_a_class_does_not_offer_do_not_apply():
    for contract in ("charge conservation", "threshold hits", "smooth gradients", "detached gradients", "per channel gradients"):
        hold(contract, OneReset)


def test_check_neuron_lists_every_broken_contract():
    with pytest.raises(AssertionError, match=r"WrongTrace breaks 1 of \d+ contracts\nWrongTrace, contract 'hand trace'"):
        check_neuron(WrongTrace)


def test_a_failure_with_a_reason_passes():
    hold("hand trace", WrongTrace, {"hand trace": "misprint"})


def test_an_entry_whose_contract_holds_must_go():
    with pytest.raises(AssertionError, match=r"LIF, contract 'chunks': holds, but is listed as unsupported \(a rumour\); delete the entry"):
        hold("chunks", LIF, {"chunks": "a rumour"})


def test_a_reason_for_an_unknown_contract_is_refused():
    with pytest.raises(AssertionError, match="unsupported: got 'chnks'; must be one of"):
        check_neuron(LIF, unsupported={"chnks": "typo"})


def test_an_error_is_no_excuse():
    with pytest.raises(AssertionError, match="raised RuntimeError: no luck"):
        hold("chunks", Crashes, {"chunks": "it cannot"})


def test_the_ledger_has_reasons():
    assert all(len(reason) > 20 for reason in UNSUPPORTED.values())
