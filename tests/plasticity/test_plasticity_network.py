"""The compiled network against the equations, spike for spike, and what must not depend on how it is run."""

import dataclasses
import math

import pytest
import torch

from spikeloom import engine
from spikeloom.core.errors import ParameterError, ShapeError
from spikeloom.core.stream import uniform
from spikeloom.engine import cache
from spikeloom.plasticity import Circuit, Network, diehl_cook, reference
from spikeloom.plasticity import network as module

# few inputs with strong synapses, and short images: cells fire, win and learn in a tenth of a second
SMALL = Circuit(
    inputs=20, neurons=6, image=80.0, rest=15.0, total=30.0, intensity=4.0, least=4, attempts=3, rule=diehl_cook.Constants(high=9.0)
)


@pytest.fixture
def compiled(tmp_path_factory, monkeypatch):
    try:
        cache.compiler()
    except cache.CannotCompile as error:
        pytest.skip(str(error))


def images(count):
    x = torch.randint(0, 256, (count, 20), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x[:, ::4] = 0
    return x


def same(one, other):
    """States within rounding of the normalisation, whose sums torch and the kernel take in other orders."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name].double(), other[name].double(), rtol=1e-12, atol=1e-12), name


def poison(monkeypatch):
    original = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: original(*a, **k).fill_(165))


def test_the_kernel_is_the_equations_spike_for_spike(compiled, monkeypatch):
    poison(monkeypatch)
    ours, theirs = (Network(SMALL, 3, backend) for backend in ("cpp", "reference"))
    for first in (0, 2):  # the second call goes on
        a, b = (net.learn(images(4)[first : first + 2], first) for net in (ours, theirs))
        assert torch.equal(a.counts, b.counts) and torch.equal(a.activity, b.activity)
        same(ours.state, theirs.state)
    assert a.activity[:, 1].min() > 2 and (ours.state["weights"] - Network(SMALL, 3).state["weights"]).abs().max() > 0.01
    before = {name: value.clone() for name, value in ours.state.items()}
    a, b = (net.respond(images(3)) for net in (ours, theirs))
    assert torch.equal(a.counts, b.counts) and torch.equal(a.activity, b.activity) and a.counts.sum() > 0
    assert all(torch.equal(before[name], ours.state[name]) for name in before)


def test_pieces_threads_and_a_loaded_state_change_nothing(compiled):
    whole, pieces = Network(SMALL), Network(SMALL)
    a = whole.learn(images(6))
    first = pieces.learn(images(6)[:4])
    resumed = Network(SMALL)
    resumed.state = {name: value.clone() for name, value in pieces.state.items()}
    second = resumed.learn(images(6)[4:], first=4)
    assert torch.equal(a.counts, torch.cat([first.counts, second.counts]))
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(whole.respond(images(6)))
    torch.set_num_threads(2)
    assert torch.equal(found[0].counts, found[1].counts) and torch.equal(found[0].activity, found[1].activity)
    alone = whole.respond(images(6)[5:], first=5)
    assert torch.equal(alone.counts, found[0].counts[5:])


def test_activity_counts_what_happens(compiled):
    net, bright = Network(dataclasses.replace(SMALL, least=0), 1), torch.full((1, 20), 255, dtype=torch.uint8)
    net.state["weights"] *= 4
    spikes, found = net.watch(bright[0]), net.respond(bright)
    assert found.activity.tolist() == [[*(len(spikes[name]) for name in ("input", "excitatory", "inhibitory")), 1]]
    assert all(0 <= time < SMALL.image for events in spikes.values() for time, _ in events)
    assert torch.bincount(torch.tensor([int(j) for _, j in spikes["excitatory"]]), minlength=6).tolist() == found.counts[0].tolist()
    assert min(found.activity[0].tolist()) > 0
    dark = torch.zeros(1, 20, dtype=torch.uint8)
    assert Network(SMALL).respond(dark).activity.tolist() == [[0, 0, 0, SMALL.attempts]]


def test_inputs_fire_as_often_as_their_pixel_says():
    fired = reference.fires(Circuit(inputs=3, image=40_000.0), torch.tensor([0, 128, 255]), key=7, attempt=1)
    rates = fired.mean(0) * 1000 / 0.5  # Hz
    for rate, pixel in zip(rates, (0, 128, 255), strict=True):
        mean = pixel / 8 * 3
        assert abs(rate - mean) <= 4 * math.sqrt(mean / 40)  # four standard deviations over 40 s


def test_a_quiet_cell_leaks_to_rest_and_one_spike_drives_it_by_hand():
    c = Circuit(inputs=1, neurons=1)
    state = Network(c).state
    state["weights"][:], state["delays"][:], state["v_e"][:] = 0.5, 1, -60.0
    nothing = diehl_cook.start(state["weights"], torch.zeros(1, 1, dtype=torch.bool))
    run = lambda flying: reference.step(c, state, nothing, flying, False)  # noqa: E731
    run([[0], []])
    assert state["v_e"].item() == -60 + 0.5 / 100 * (-65 + 60) and state["ge_e"].item() == 0
    run([[], [0]])  # arrives one step later, and moves v in the step after
    v = state["v_e"].item()
    assert state["ge_e"].item() == 0.5
    run([[], []])
    assert state["v_e"].item() == pytest.approx(v + 0.5 / 100 * ((-65 - v) + 0.5 * -v), abs=1e-12)
    assert state["ge_e"].item() == 0.25


def test_a_spike_excites_its_partner_which_inhibits_the_others():
    c = Circuit(inputs=1, neurons=3)
    state = Network(c).state
    state["v_e"][1] = -40.0  # the threshold is 20 - 20 - 52
    nothing = diehl_cook.start(state["weights"], torch.zeros(1, 1, dtype=torch.bool))
    fired, back, _ = reference.step(c, state, nothing, [[]], True)
    assert fired.tolist() == [False, True, False] and not back.any()
    assert state["v_e"][1] == -65 and state["ge_i"].tolist() == [0, 10.4, 0]
    assert state["theta"].tolist() == pytest.approx([20 * (1 - 0.5e-7)] * 1 + [20 * (1 - 0.5e-7) + 0.05] + [20 * (1 - 0.5e-7)], abs=1e-12)
    fired, back, _ = reference.step(c, state, nothing, [[]], True)
    # -60 + 0.5 / 10 * 10.4 * 60 = -28.8 is above -40
    assert back.tolist() == [False, True, False] and state["gi_e"].tolist() == [17, 0, 17] and state["v_i"][1] == -45
    held = [reference.step(c, state, nothing, [[]], True) and state["v_e"][1].item() for _ in range(9)]
    assert held[:8] == [-65.0] * 8  # ten steps after the spike it moves again


def test_a_start_is_drawn_from_the_seed():
    a, b, c = (Network(SMALL, seed).state for seed in (0, 0, 1))
    assert torch.equal(a["weights"], b["weights"]) and not torch.equal(a["weights"], c["weights"])
    assert a["weights"].min() >= 0.003 and a["weights"].max() < 0.303
    big = Network(Circuit(neurons=50)).state["delays"]
    assert big.min() == 0 and big.max() == 19 and (torch.bincount(big.flatten().long()) / big.numel() - 0.05).abs().max() < 0.01
    assert uniform(1, 100).min() >= 0 and uniform(1, 100).max() < 1


def test_without_a_compiler_the_equations_run(monkeypatch):
    def none(*_):
        raise cache.CannotCompile("no C++ compiler")

    monkeypatch.setattr(module, "_function", none)
    tiny = dataclasses.replace(SMALL, image=10.0, attempts=1)
    with pytest.warns(engine.SlowBackend, match="the network runs in torch, step by step: no C"):
        assert Network(tiny).respond(images(1)).counts.shape == (1, 6)
    with pytest.raises(cache.CannotCompile, match="no C"):
        Network(tiny, backend="cpp").respond(images(1))
    monkeypatch.setenv("SPIKELOOM_BACKEND", "reference")
    Network(tiny).respond(images(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, r"Circuit.dt: got 0.0; must be above 0"),
        ({"neurons": 70_000}, r"Circuit.neurons: got 70000; must be at most 65535"),
        ({"delay": 130.0}, r"Circuit.delay / dt: got 260; must be at most 255"),
        ({"rest": 5.0}, r"Circuit.rest: got 5.0; must be at least the largest delay, 10.0 ms"),
    ],
)
def test_a_circuit_that_cannot_be(changes, message):
    with pytest.raises(ParameterError, match=message):
        Circuit(**changes)


def test_refusals():
    with pytest.raises(ShapeError, match=r"Network images: got \[torch.float32, 2, 20\]; must be uint8 \[images, 20\]"):
        Network(SMALL).learn(torch.rand(2, 20))
    with pytest.raises(ParameterError, match="Network backend: got 'cuda'; must be one of 'auto', 'cpp', 'reference'"):
        Network(SMALL, backend="cuda")
