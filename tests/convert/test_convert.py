"""The verb and its routes: closed forms, degenerate cases, refusals."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import spikeloom
from spikeloom import models
from spikeloom.convert import normalisers, routes
from spikeloom.core.errors import DataError, ParameterError
from spikeloom.nn.activations import QCFS

W1, W2, W3 = ([[1.5, -0.5], [2.0, 1.0]], [[1.0, 0.5], [-1.0, 2.0]], [[0.8, 0.6]])
INPUTS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.25]]


def chain(*weights, last=True):
    """Linear layers without biases, each followed by a ReLU (the last one too unless said otherwise)."""
    layers = []
    for weight in weights:
        layer = nn.Linear(len(weight[0]), len(weight), bias=False)
        layer.weight.data = torch.tensor(weight)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[: None if last else -1]).eval()


def rates(snn, x):
    """Mean output per step of every neuron layer, in the order of the network."""
    found = []
    handles = [
        m.register_forward_hook(lambda m, a, y: found.append(y.unflatten(0, (snn.steps, -1)).mean(0)))
        for m in snn.net.modules()
        if isinstance(m, spikeloom.Neuron)
    ]
    with torch.no_grad():
        snn(x)
    for handle in handles:
        handle.remove()
    return found


class Wide(nn.Module):
    """A residual sum, a concatenation, norms, a shared activation, max and average pools."""

    def __init__(self, pool=nn.MaxPool2d):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(8))
        self.act, self.pool, self.norm = nn.ReLU(), pool(2), nn.BatchNorm2d(16)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(64, 5), nn.Softmax(1))

    def forward(self, x):
        x = self.stem(x)
        y = self.branch(x)
        z = torch.cat([self.act(x + y), self.act(y)], 1)
        return self.head(self.pool(self.act(self.norm(z))))


def logits(net, x):
    """The outputs before the softmax."""
    net = copy.deepcopy(net)
    net.head[-1] = nn.Identity()
    with torch.no_grad():
        return net(x)


@pytest.fixture
def wide():
    return grown(nn.MaxPool2d)


def grown(pool):
    """A `Wide` whose norms have seen something, in evaluation mode, and inputs."""
    torch.manual_seed(0)
    net = Wide(pool)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.3)
            m.running_var.uniform_(0.5, 2)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.3)
    return net.eval(), torch.rand(24, 3, 8, 8)


def test_diehls_worked_example(float64):
    # METHODS G.2: exact data-based scales 3, 5, 5; ANN activations over them (.2083, .4167), (.25, .375), (.425)
    net, x = chain(W1, W2, W3), torch.tensor([INPUTS[3]])
    options = {"readout": "membrane", "input": "current", "pool_neurons": "none"}
    soft = spikeloom.convert(net, "diehl2015-data", torch.tensor(INPUTS), 1000, reset="subtract", **options)
    assert [v.item() for v in soft.conversion.scales.values()] == [3, 5, 5]
    for got, expected in zip(rates(soft, x), ((0.208, 0.416), (0.249, 0.374), (0.423,)), strict=True):
        torch.testing.assert_close(got[0], torch.tensor(expected), rtol=0, atol=1.001e-3)
    hard = spikeloom.convert(net, "diehl2015-data", torch.tensor(INPUTS), 1000, **options)
    for got, expected in zip(rates(hard, x), ((0.2, 0.333), (0.166, 0.2), (0.166,)), strict=True):
        torch.testing.assert_close(got[0], torch.tensor(expected), rtol=0, atol=1.001e-3)


def test_soft_reset_counts_floor_of_the_drive(float64):
    # one layer, scale 1: N(T) = clamp(floor(T a + v0), 0, T)
    a = torch.arange(-40, 90, dtype=torch.float64).view(-1, 1) / 64
    net = chain([[1.0]])
    for start in (0.0, 0.5):
        snn = spikeloom.convert(net, "rueckauer2017", a, 37, normaliser="Unscaled", start=start)
        count = rates(snn, a)[0] * 37
        torch.testing.assert_close(count, (37 * a + start).floor().clamp(0, 37), rtol=0, atol=1e-9)


@pytest.mark.parametrize("levels", [1, 2, 4, 7])
def test_qcfs_is_exact_when_steps_are_its_levels(levels, float64):
    torch.manual_seed(levels)
    net = nn.Sequential(nn.Linear(6, 300), QCFS(levels=levels, scale=1.7), nn.Linear(300, 4)).eval()
    x = torch.randn(50, 6)
    snn = spikeloom.convert(net, "qcfs", x, levels)
    with torch.no_grad():
        torch.testing.assert_close(snn(x).mean(0), net(x), rtol=1e-9, atol=1e-9)


def test_augmented_spikes_equal_the_floor_quantised_network(float64):
    # METHODS G.6: with an analog input, layer by layer N = max(0, floor(running sum)); dyadic weights make every sum exact
    torch.manual_seed(1)
    weights = [(torch.randint(-16, 17, shape) / 16).tolist() for shape in ((9, 5), (7, 9), (4, 7))]
    net, x, steps = chain(*weights), torch.randint(0, 17, (40, 5)) / 16, 11
    snn = spikeloom.convert(net, "augmapping", x, steps, normaliser="Unscaled")
    expected = x * steps
    for weight, rate in zip(weights, rates(snn, x), strict=True):
        expected = (expected @ torch.tensor(weight).T).floor().clamp(min=0)
        torch.testing.assert_close(rate * steps, expected, rtol=0, atol=1e-9)


def test_ternary_spikes_without_a_negative_threshold_are_integrate_and_fire(wide):
    net, x = wide
    plain = spikeloom.convert(net, "rueckauer2017", x, 12, normaliser="DataBased")
    held = spikeloom.convert(net, "termapping", x, 12, negative=float("inf"), pools="gate")
    assert torch.equal(plain(x), held(x))


@pytest.mark.parametrize("method", sorted(set(routes.known) - {"qcfs"}))
def test_every_route_is_repeatable_and_streams(method, wide):
    net, x = wide
    before = copy.deepcopy(net.state_dict())
    snn = spikeloom.convert(net, method, x, 6)
    again = spikeloom.convert(net, method, x.flip(0).split(5), 6)  # other order, other batches
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    torch.manual_seed(3)
    folded = snn.encode(x[:4]).unflatten(0, (snn.prelude + 6, -1))
    torch.manual_seed(3)
    whole = snn(x[:4])
    torch.manual_seed(3)
    torch.testing.assert_close(again(x[:4]), whole, rtol=1e-5, atol=1e-6)
    stream = snn.stream()
    with torch.no_grad():
        steps = torch.stack([stream(row) for row in folded])
    assert torch.equal(steps[snn.prelude :], whole)


@pytest.mark.parametrize("method", ["rueckauer2017", "spiking-yolo", "opi", "augmapping", "termapping", "calibration"])
def test_rates_tend_to_the_ann(method):
    net, x = grown(nn.AvgPool2d)
    errors, wanted = [], logits(net, x)
    for steps in (16, 64, 256):
        snn = spikeloom.convert(net, method, x, steps, **({"percentile": 100.0} if method in ("rueckauer2017", "opi") else {}))
        with torch.no_grad():
            errors.append(((snn(x).mean(0) - wanted).norm() / wanted.norm()).item())
    assert errors[2] < errors[0] / 3


def test_pools_of_increases_keep_max_pools(wide):
    # a gate's error falls like the square root of 1/T, theirs like 1/T
    net, x = wide
    wanted, errors = logits(net, x), {}
    for pools in ("gate", "increase"):
        for steps in (16, 256):
            with torch.no_grad():
                found = spikeloom.convert(net, "rueckauer2017", x, steps, percentile=100.0, pools=pools)(x).mean(0)
            errors[pools, steps] = ((found - wanted).norm() / wanted.norm()).item()
    assert errors["increase", 256] < errors["increase", 16] / 5
    assert errors["increase", 256] < errors["gate", 256] / 2


def test_the_ledger_tells_what_each_pass_did(wide):
    net, x = wide
    snn = spikeloom.convert(net, "rueckauer2017", x, 8)
    rows = {row["pass"]: row for row in snn.ledger}
    assert list(rows) == [
        "name_modules", "split_shared", "remove_dropout", "fold_norms", "place_scales", "absorb_scales", "gate_pools", "place_neurons",
    ]  # fmt: skip
    kept = [rows[name]["error"] for name in ("name_modules", "split_shared", "fold_norms", "place_scales", "absorb_scales")]
    assert max(kept) < 1e-5
    assert rows["place_neurons"]["error"] > 1e-3
    assert len(rows["fold_norms"]["nodes"]) == 3
    assert set(rows["place_scales"]["scale"]) == set(snn.conversion.scales)
    assert len(snn.conversion.scales) == 4


def test_a_leaky_network_becomes_signed_neurons(float64):
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.LeakyReLU(0.1)).eval()
    net[0].weight.data.fill_(1.0)
    x = torch.tensor([[0.5], [-0.5], [-1.0], [-0.05]])
    snn = spikeloom.convert(net, "spiking-yolo", torch.tensor([[1.0], [-1.0]]), 1000)
    # METHODS G.5: .5, -.05, -.1, -.005
    torch.testing.assert_close(snn(x).mean(0), torch.tensor([[0.5], [-0.05], [-0.1], [-0.005]]), rtol=0, atol=2e-3)
    dropped = spikeloom.convert(net, "spiking-yolo", torch.tensor([[1.0], [-1.0]]), 1000, leaky="dropped")
    torch.testing.assert_close(dropped(x).mean(0), torch.tensor([[0.5], [0.0], [0.0], [0.0]]), rtol=0, atol=2e-3)


def test_what_is_asked_wrongly_is_refused():
    net, x = chain(W1, W2, W3), torch.tensor(INPUTS)
    with pytest.raises(ParameterError, match="got 'rueckauer'; did you mean 'rueckauer2017'"):
        spikeloom.convert(net, "rueckauer", x, 4)
    with pytest.raises(ParameterError, match="rueckauer2017: no option 'reste'; did you mean 'reset'"):
        spikeloom.convert(net, "rueckauer2017", x, 4, reste="zero")
    with pytest.raises(ParameterError, match="rueckauer2017.pools: got 'max'; must be one of 'average', 'gate', 'increase'"):
        spikeloom.convert(net, "rueckauer2017", x, 4, pools="max")
    with pytest.raises(ParameterError, match=r"calibration.corrections: got \('bais',\); must be one of 'bias', 'potential'"):
        spikeloom.convert(net, "calibration", x, 4, corrections="bais")
    with pytest.raises(ParameterError, match="srp.prelude: got 0; must be at least 1 for SRPIF"):
        spikeloom.convert(net, "srp", x, 4, prelude=0)
    with pytest.raises(ParameterError, match="opi.prelude: got 2; must be 0: IF has no prelude"):
        spikeloom.convert(net, "opi", x, 4, prelude=2)
    with pytest.raises(ParameterError, match="opi.percentile: got 'ninety'; must be of type float"):
        spikeloom.convert(net, "opi", x, 4, percentile="ninety")
    with pytest.raises(ParameterError, match="convert steps: got 0; must be a whole number of at least 1"):
        spikeloom.convert(net, "rueckauer2017", x, 0)
    with pytest.raises(DataError, match="calibration data: got 'no inputs'"):
        spikeloom.convert(net, "rueckauer2017", [], 4)


def test_diehls_network_is_the_released_one():
    net = models.diehl2015_cnn()
    assert sum(p.numel() for p in net.parameters()) == 12 * 25 + 64 * 12 * 25 + 10 * 1024
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_no_option_has_two_meanings():
    fields = {field.name for field in dataclasses.fields(routes.Route)}
    rules = {name: set(rule().options()) for name, rule in normalisers.known.items()}
    units = {name: {*cls.params, *cls.choices, *cls.counts} - {"prelude"} for name, cls in spikeloom.neurons.known.items()}
    assert not any(fields & own for own in (*rules.values(), *units.values()))
    assert not {(rule, unit) for rule, a in rules.items() for unit, b in units.items() if a & b - {"start"}}
