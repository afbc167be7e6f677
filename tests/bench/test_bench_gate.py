"""A contender that computes something else is refused, and no speed of it exists."""

import pytest
import torch

from spikeloom.bench import gate, neuron, race, rivals
from spikeloom.bench.gate import Verdict
from spikeloom.bench.rivals import Contender
from spikeloom.neurons import LIF, MLF, PLIF

KIND = LIF(tau=2.0, threshold=1.0, surrogate="atan")


def written_out(x, *, scale=0.5, threshold=1.0, slope=1.0, start=0.0):
    """LIF of tau = 2 from its three equations, with ATan by a detached correction term: no code of the library."""
    v, spikes = torch.full_like(x[0], start), []
    for x_t in x:
        u = v + (x_t - v) * scale
        z = u - threshold
        soft = slope * torch.atan(torch.pi * z) / torch.pi
        s = (z > 0).to(x.dtype) + (soft - soft.detach())
        v = u * (1 - s)
        spikes.append(s)
    return torch.stack(spikes)


def verdict(call, oracle=KIND, learned=(), steps=8, neurons=300):
    return gate.check(Contender("rival", call, oracle, learned), gate.drive(steps, neurons))


def test_an_independent_implementation_is_green():
    found = verdict(written_out)
    assert found.passed, found.text
    assert "gradients within" in found.text


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: written_out(x, threshold=1.01), "spikes differ from the oracle without gradients"),
        (lambda x: written_out(x, scale=0.51), "spikes differ"),
        (lambda x: written_out(x, slope=1.01), "the gradient of the input is off by 0.01"),
        (lambda x: written_out(x).detach().requires_grad_(), "the gradient of the input is off by inf"),
        (lambda x: written_out(x)[:-1], "shape [7, 300] instead of [8, 300]"),
        (lambda x: written_out(x) if x.requires_grad else written_out(x) * 0, "without gradients"),
        (lambda x: written_out(x) if not x.requires_grad else written_out(x) * 0, "with gradients"),
        (lambda x: 1 // 0, "raised ZeroDivisionError"),
    ],
)
def test_a_wrong_contender_is_red(call, text):
    found = verdict(call)
    assert not found.passed
    assert text in found.text


def test_a_state_that_survives_the_call_is_red():
    last = [0.0]

    def call(x):
        spikes = written_out(x, start=last[0])
        last[0] += 0.9
        return spikes

    assert "with gradients" in verdict(call).text


def test_a_wrong_gradient_of_a_learned_value_is_red():
    kind = PLIF(tau=2.0)
    rival = rivals.known["Spikeloom"]().neuron(kind)
    assert gate.check(rival, gate.drive(8, 300)).passed

    def twice(x):
        for p in rival.learned if x.requires_grad else ():
            p.register_hook(lambda grad: 2 * grad)
        return rival.call(x)

    assert "a learned value is off by 1" in verdict(twice, kind, rival.learned).text


def test_columns_that_rounding_could_flip_are_left_out():
    x = gate.drive(2, 5)
    x[0, 3] = 2.0  # the membrane is 1, the threshold
    assert gate._clear(KIND.double(), x).tolist() == [0, 1, 2, 4]
    KIND.float()


def test_edges_of_a_surrogate_are_left_out():
    kind = LIF(tau=2.0, threshold=1.0, surrogate="rectangle").double()
    x = gate.drive(1, 3)
    x[0, 1] = 1.0  # the membrane is half a window below the threshold
    assert 1 not in gate._clear(kind, x).tolist()


def test_input_with_nothing_clear_is_red():
    assert "stays clear of the threshold" in gate.check(Contender("rival", written_out, KIND), torch.full((1, 4), 2.0)).text


def test_only_the_green_are_timed(place):
    field = race.Field()
    told = []
    field.judge(Verdict("copy", True, ""), told.append)
    assert not field.judge(Verdict("rival", False, "3 spikes differ"), told.append)
    with pytest.raises(race.NotGreen, match="rival: got no green gate; only what was found correct is timed"):
        field.race({"copy": lambda: None, "rival": lambda: None}, place, "forward")
    with pytest.raises(race.NotGreen, match="stranger"):
        field.race({"copy": lambda: None, "stranger": lambda: None}, place, "forward")
    assert told[1] == "gate rival: RED, not timed: 3 spikes differ"
    assert field.left_out == [{"impl": "rival", "reason": "failed its gate: 3 spikes differ"}]


def test_a_wrong_rival_has_no_speed_in_the_record(monkeypatch, place):
    class Wrong(rivals.Rival):
        impl = "wrong"

        def neuron(self, kind):
            return Contender(self.impl, lambda x: written_out(x, threshold=0.9), kind)

    monkeypatch.setattr(rivals, "known", {"Eager": rivals.known["Eager"], "Wrong": Wrong})
    told = []
    record = neuron.bench(neuron.Options("LIF", 4, 200), place, told.append)
    assert {row["impl"] for row in record["results"]} == {"copy", "eager"}
    assert set(record["overhead_us"]) == {"copy", "eager"}
    assert [g["passed"] for g in record["gate"] if g["impl"] == "wrong"] == [False]
    assert any(line.startswith("gate wrong: RED") for line in told)


def test_the_authors_mlf_is_the_oracle_to_the_last_spike():
    kind = MLF()
    rival = rivals.known["Eager"]().neuron(kind)
    assert "authors" in rival.note
    assert gate.check(rival, gate.drive(8, 300)).passed
    assert "reference" in rivals.known["Eager"]().neuron(MLF(reset="subtract")).note


def test_bytes_kept_per_element_and_step(place):
    record = neuron.bench(neuron.Options("LIF", 4, 4096), place, lambda text: None)
    kept = {row["impl"]: row["saved_bytes_per_element_step"] for row in record["results"] if row["pass"] == "forward_backward"}
    backends = {row["impl"]: row.get("backend") for row in record["results"]}
    assert kept["copy"] == 0
    if backends["spikeloom"] == "cpp":
        assert kept["spikeloom"] == 4.0  # x
        assert kept["spikeloom-packed"] == 0.25  # two bits
    assert 8 < kept["eager"] < 16
