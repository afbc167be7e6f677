"""Every method of conversion through a Runner: weights on a grid make all sums exact, so that it answers bit for bit as the SNN does."""

import pytest
import torch
from torch import nn

import spikeloom
from spikeloom import measure
from spikeloom.convert import Affine, routes
from spikeloom.neurons import Neuron
from spikeloom.nn.activations import QCFS

STEPS = 8


def chain(act):
    """No biases and average pools: what the early methods ask for."""
    return nn.Sequential(
        nn.Conv2d(2, 20, 3, padding=1, bias=False), act(), nn.AvgPool2d(2), nn.Conv2d(20, 34, 3, padding=1, bias=False), act(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(34 * 4, 40, bias=False), act(), nn.Linear(40, 5, bias=False),
    )  # fmt: skip


class Wide(nn.Module):
    """Norms, a residual sum with groups, a concatenation, a max pool, a pool of the whole map."""

    def __init__(self, act):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 12, 3, padding=1), nn.BatchNorm2d(12), act())
        self.branch = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(12))
        self.pointwise, self.acts = nn.Conv2d(12, 12, 1), nn.ModuleList(act() for _ in range(3))
        self.pool, self.norm = nn.MaxPool2d(2), nn.BatchNorm2d(24)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 5))

    def forward(self, x):
        x = self.stem(x)
        y = self.branch(x)
        z = torch.cat([self.acts[0](x + y), self.acts[1](self.pointwise(y))], 1)
        return self.head(self.pool(self.acts[2](self.norm(z))))


def images(*shape):
    return torch.randint(0, 17, shape, generator=torch.Generator().manual_seed(1)) / 16


def converted(method, make, **options):
    """The network converted; weights and biases are multiples of 1/256, thresholds and factors of 1/16."""
    act = {"qcfs": lambda: QCFS(levels=4, scale=1.0), "spiking-yolo": lambda: nn.LeakyReLU(0.1)}.get(method, nn.ReLU)
    torch.manual_seed(2)
    net = make(act)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    snn = spikeloom.convert(net.eval(), method, images(16, 2, 8, 8), STEPS, **options)
    for module in snn.net.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if isinstance(module, nn.Conv2d | nn.Linear):
                tensor.data.copy_((tensor * 256).round() / 256)
            elif isinstance(module, Affine) or name in ("threshold", "start"):
                tensor.data.copy_((tensor * 16).round().clamp(min=1 if name == "threshold" else -1e9) / 16)
    return snn


def answers(snn, runner, x):
    torch.manual_seed(3)
    wanted = snn(x)
    torch.manual_seed(3)
    return runner(x), wanted


def awake(snn, x):
    """Quarters the thresholds of silent layers until every layer fires; gives how many there are."""
    counts = {}
    look = lambda m, a, y: counts.update({m: int((y != 0).sum())})  # noqa: E731
    hooks = [m.register_forward_hook(look) for m in snn.net.modules() if isinstance(m, Neuron)]
    snn(x)
    while silent := next((m for m, count in counts.items() if not count), None):
        silent.threshold /= 4
        snn(x)
    for hook in hooks:
        hook.remove()
    return len(counts)


NETS = {"chain": chain, "wide": Wide}
CASES = [(method, net) for method in routes.known for net in NETS if net == "chain" or method not in ("cao2015", "sengupta2019")]


@pytest.mark.parametrize(("method", "net"), CASES)
def test_every_method(method, net, tmp_path):
    snn, x = converted(method, NETS[net]), images(5, 2, 8, 8)
    layers = awake(snn, x)
    runner = spikeloom.compile(snn)
    found, wanted = answers(snn, runner, x)
    assert wanted.abs().max() > 0
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    neurons = [row for row in runner.explain() if row.kind in spikeloom.neurons.known]
    assert len(neurons) == layers and {row.way for row in neurons} == {"fused"}, runner.explain()
    runner.chunk = 3
    assert torch.equal(answers(snn, runner, x)[0], wanted)
    runner.save(tmp_path / "runner.safetensors")
    assert torch.equal(answers(snn, spikeloom.infer.load(tmp_path / "runner.safetensors"), x)[0], wanted)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rueckauer2017", {"pools": "increase", "input": "rate"}),
        ("rueckauer2017", {"pools": "average", "readout": "spikes", "corrections": ("bias", "potential")}),
        ("cos", {"readout": "spikes", "prelude": 2}),
        ("opi", {"normaliser": "ChannelWise", "reset": "zero", "floor": "zero", "pool_neurons": "own", "pools": "average"}),
        ("augmapping", {"largest": 2.0, "correction": "free", "input": "poisson"}),
        ("termapping", {"correction": "free", "leaky": "dropped"}),
    ],
)
def test_options(method, options):
    snn, x = converted(method, Wide, **options), images(5, 2, 8, 8)
    awake(snn, x)
    found, wanted = answers(snn, spikeloom.compile(snn), x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_accuracy_is_measured_of_a_runner():
    snn, x, labels = converted("rueckauer2017", Wide), images(6, 2, 8, 8), torch.arange(6) % 5
    batches = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    assert measure.accuracy(spikeloom.compile(snn), batches) == measure.accuracy(snn, batches)


def test_trained_weights_round_rarely():
    """Sums in another order move single spikes; what comes out of real weights stays within a hundredth."""
    torch.manual_seed(2)
    snn, x = spikeloom.convert(Wide(nn.ReLU).eval(), "rueckauer2017", images(16, 2, 8, 8), 32), images(9, 2, 8, 8)
    found, wanted = answers(snn, spikeloom.compile(snn), x)
    assert ((found - wanted).norm() / wanted.norm()).item() < 0.01
