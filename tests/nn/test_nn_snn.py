"""The SNN shell: folding, the one place of T, state that never leaks, streams, copies, and what it refuses.

Weights and inputs are multiples of 1/8, so that every sum is exact and equality can be asked bit by bit.
"""

import copy

import pytest
import torch
from torch import nn

from spikeloom import IF, LIF, MLF, SNN
from spikeloom.core.errors import ParameterError, ShapeError, SpikeloomError
from spikeloom.nn.norms import TdBN


def eighths(*shape):
    return torch.randint(-8, 9, shape) / 8


def exact(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(eighths(*parameter.shape))
    return module


def net():
    return nn.Sequential(
        exact(nn.Conv2d(1, 4, 3, padding=1)), LIF(decay=0.5, threshold=0.5), nn.AvgPool2d(2), nn.Flatten(),
        exact(nn.Linear(16, 8)), MLF(decay=0.5, threshold=0.5), exact(nn.Linear(8, 3)),
    )  # fmt: skip


def test_output_is_the_steps_by_the_batch_by_the_classes():
    assert SNN(net(), steps=5)(eighths(2, 1, 4, 4)).shape == (5, 2, 3)
    assert SNN(net(), steps=1)(eighths(1, 1, 4, 4)).shape == (1, 1, 3)


def test_input_with_time_needs_no_encoder():
    snn, x = SNN(net(), steps=5, encoder=None), eighths(2, 1, 4, 4)
    assert torch.equal(snn(x.expand(5, -1, -1, -1, -1)), SNN(copy.deepcopy(snn.net), steps=5)(x))


def test_the_fold_is_time_major():
    snn, x = SNN(nn.Identity(), steps=3, encoder=None), eighths(3, 2, 5)
    assert torch.equal(snn.encode(x)[2:4], x[1])
    assert torch.equal(snn(x), x)


def test_a_step_sees_only_the_past():
    snn, x = SNN(net(), steps=6, encoder=None), eighths(6, 2, 1, 4, 4)
    whole = snn(x)
    snn.steps = 4
    assert torch.equal(snn(x[:4]), whole[:4])


def test_one_step_is_a_feed_forward_net():
    snn, x = SNN(net(), steps=1), eighths(5, 1, 4, 4)
    conv, _, pool, flat, linear, _, head = snn.net
    hidden = linear(flat(pool((conv(x) > 0.5).float())))
    levels = sum((hidden > 0.5 + k).float() for k in range(3))
    assert torch.equal(snn(x)[0], head(levels))


def test_steps_reach_every_neuron_and_norm():
    snn = SNN(nn.Sequential(nn.Linear(2, 3), TdBN(3), nn.Sequential(IF(), nn.Identity()), LIF()), steps=4)
    told = [m for m in snn.modules() if hasattr(m, "steps") and m is not snn]
    assert len(told) == 3
    assert {m.steps for m in told} == {4}
    snn.steps = 7
    assert snn.steps == 7
    assert {m.steps for m in told} == {7}
    assert snn(torch.rand(2, 2)).shape == (7, 2, 3)


def test_state_never_leaks_between_calls():
    snn, x = SNN(net(), steps=5), eighths(2, 1, 4, 4)
    first = snn(x)
    stream = snn.stream()
    stream(eighths(2, 1, 4, 4))
    snn(eighths(3, 1, 4, 4))
    assert torch.equal(snn(x), first)
    with pytest.raises(RuntimeError):
        stream(eighths(2, 7, 4, 4))
    assert torch.equal(snn(x), first)
    assert all(value.numel() < 2 for value in snn.net[1].state_dict().values())


@pytest.mark.parametrize("training", [True, False])
def test_stream_equals_sequence(training):
    snn, x = SNN(net(), steps=6, encoder=None).train(training), eighths(6, 2, 1, 4, 4)
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), snn(x))


def test_a_stream_may_come_before_the_first_call():
    snn, x = SNN(IF(), steps=6, encoder=None), eighths(6, 2, 4)
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), snn(x))


def test_streams_do_not_see_each_other():
    snn, x = SNN(net(), steps=4, encoder=None), eighths(4, 2, 1, 4, 4)
    one, two = snn.stream(), snn.stream()
    outputs = []
    for step in x:
        outputs.append(one(step))
        two(eighths(2, 1, 4, 4))
    assert torch.equal(torch.stack(outputs), snn(x))


def test_stream_of_a_net_that_uses_one_neuron_twice():
    neuron, layer = LIF(decay=0.5), exact(nn.Linear(4, 4))
    snn, x = SNN(nn.Sequential(layer, neuron, layer, neuron), steps=6, encoder=None), eighths(6, 3, 4)
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), snn(x))


def test_gradients_flow_through_a_stream(float64):
    grads = []
    snn, x = SNN(net().double(), steps=4, encoder=None), eighths(4, 2, 1, 4, 4).double()
    stream = snn.stream()
    for run in (lambda: snn(x), lambda: torch.stack([stream(step) for step in x])):
        snn.zero_grad()
        (run() * torch.arange(4).view(4, 1, 1)).sum().backward()
        grads.append(snn.net[0].weight.grad.clone())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_stream_of_a_training_norm_is_refused():
    snn = SNN(nn.Sequential(nn.Linear(2, 3), TdBN(3), LIF()), steps=4)
    with pytest.raises(SpikeloomError, match=r"stream: 1 takes its statistics over all steps while training; call snn.eval\(\) first"):
        snn.stream()(torch.rand(2, 2))
    assert snn.eval().stream()(torch.rand(2, 2)).shape == (2, 3)


def test_copies_are_independent():
    snn, x = SNN(net(), steps=5), eighths(2, 1, 4, 4)
    twin = copy.deepcopy(snn)
    first = snn(x)
    assert torch.equal(twin(x), first)
    with torch.no_grad():
        twin.net[0].weight.zero_()
    twin.steps = 2
    assert torch.equal(snn(x), first)
    assert snn.net[1].steps == 5


def test_state_dict_round_trip():
    def build(threshold):
        return SNN(nn.Sequential(nn.Linear(4, 4), TdBN(4), LIF(threshold=threshold, learnable=("decay",)), nn.Linear(4, 2)), steps=4)

    torch.manual_seed(1)
    one = build([0.1, 0.2, 0.3, 0.4])
    one(torch.randn(8, 4))
    two = build([1.0] * 4)
    assert two.load_state_dict(one.state_dict()).missing_keys == []
    assert torch.equal(two.net[2].threshold, one.net[2].threshold)
    x = torch.randn(3, 4)
    assert torch.equal(two.eval()(x), one.eval()(x))
    with pytest.raises(RuntimeError, match=r"net\.2\.threshold"):
        build(1.0).load_state_dict(one.state_dict())


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, "4", None])
def test_bad_steps(steps):
    with pytest.raises(ParameterError, match=rf"SNN.steps: got {steps!r}; must be a whole number of at least 1"):
        SNN(net(), steps=steps)


@pytest.mark.parametrize("shape", [(3, 2, 4), (5,), ()])
def test_input_without_the_right_time_axis(shape):
    with pytest.raises(ShapeError, match=r"SNN input: got \[.*\]; must be \[T, B, ...\] with T = 5; or give SNN an encoder"):
        SNN(nn.Identity(), steps=5, encoder=None)(torch.zeros(shape))


def test_unknown_encoder():
    with pytest.raises(ParameterError, match="encoder: got 'spiky'; known: bernoulli, direct, first_spike, latency, rate"):
        SNN(net(), steps=2, encoder="spiky")


def test_a_net_in_two_shells_and_a_neuron_put_in_later_know_their_steps():
    net = nn.Sequential(nn.Linear(3, 4), LIF(), nn.Linear(4, 2))
    short, long = SNN(net, steps=2), SNN(net, steps=6)
    x = torch.rand(5, 3)
    alone = SNN(nn.Sequential(*net), steps=2)(x)
    long(x)
    assert torch.equal(short(x), alone)
    net[1] = LIF()
    assert torch.equal(short(x), alone)
    assert long(x).shape == (6, 5, 2)


def test_a_prelude_runs_first_and_is_not_returned():
    snn, x = SNN(net(), steps=4, encoder=None, prelude=3), eighths(7, 2, 1, 4, 4)
    whole = SNN(copy.deepcopy(snn.net), steps=7, encoder=None)(x)
    assert torch.equal(snn(x), whole[3:])
    stream = snn.stream()
    assert torch.equal(torch.stack([stream(step) for step in x]), whole)
    snn.steps = 2
    assert torch.equal(snn(x[:5]), whole[3:5])
    assert snn.steps == 2 and snn.net[1].steps == 5


def test_an_encoder_makes_the_prelude_too():
    snn = SNN(nn.Identity(), steps=2, encoder="latency", prelude=2)
    assert snn(torch.tensor([[0.0, 0.34, 1.0]])).tolist() == [[[0, 1, 0]], [[0, 0, 0]]]


@pytest.mark.parametrize("prelude", [-1, 0.5, True, "4", None])
def test_bad_prelude(prelude):
    with pytest.raises(ParameterError, match=rf"SNN.prelude: got {prelude!r}; must be a whole number of at least 0; steps before those"):
        SNN(net(), steps=2, prelude=prelude)


def test_input_without_the_steps_of_the_prelude():
    with pytest.raises(ShapeError, match=r"got \[4, 2, 3\]; must be \[prelude \+ T, B, ...\] with prelude \+ T = 7; or give SNN"):
        SNN(nn.Identity(), steps=4, encoder=None, prelude=3)(torch.zeros(4, 2, 3))
