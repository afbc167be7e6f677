"""Input gradients only where the surrogate's window of the neuron before is open: which windows, whose layers, the same training."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from trained import agree, gradients, vgg

from spikeloom import LIF, MLF, SNN, neurons
from spikeloom.engine import emitted, trace
from spikeloom.engine.bits import unpack
from spikeloom.models import ds_resnet
from spikeloom.nn import fuse, sparse
from spikeloom.surrogates import Rectangle, Triangle

KINDS = [
    ("LIF", {}), ("LIF", {"reset": "subtract", "drive": "leak_scaled"}), ("LIF", {"reset_gradient": "detached", "learnable": ("decay",)}),
    ("LIF", {"surrogate": "dspike", "fires": "at_or_above"}), ("IF", {"surrogate": Triangle(a=9.0)}), ("MLF", {"learnable": "threshold"}),
    ("MLF", {"levels": 2, "reset": "subtract", "surrogate": Rectangle(width=0.3)}), ("PLIF", {"surrogate": "triangle"}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", KINDS)
@pytest.mark.parametrize("shape", [(6, 70, 5, 7), (6, 64, 4, 4), (6, 33), (3, 3, 1, 300)])
def test_gradients_of_spikes_with_closed_windows_go_nowhere(name, options, shape):
    """Bit for bit, whatever they are; and the distance to the threshold says the same of the windows."""
    neuron = neurons.known[name](**options)
    neuron.steps, neuron._emits = 3, True
    x = torch.randn(shape)
    x = (x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x).requires_grad_()
    y = neuron(x)
    is_open = unpack(emitted.of(y).window)
    assert torch.equal(unpack(emitted.of(y).spikes), y)
    inside = neuron.trace(x.detach())["distance"].abs() < neuron.surrogate.half_support
    assert torch.equal(is_open > 0, inside.any(1).flatten(0, 1)) and 0 < is_open.mean() < 1
    grad, leaves = torch.randn(y.shape), [x, *neuron.parameters()]
    plain = torch.autograd.grad(y, leaves, grad, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, torch.autograd.grad(y, leaves, grad * is_open * 1.0), strict=True))


def test_where_no_window_is_known():
    x = torch.randn(6, 8, 4, 4, requires_grad=True)

    def window(neuron, x):
        neuron.steps, neuron._emits = 3, True
        return (known := emitted.of(neuron(x))) and known.window

    last = x.contiguous(memory_format=torch.channels_last)
    assert window(LIF(), last) is not None and window(LIF(memory="packed", reset_gradient="detached"), last) is not None
    assert window(LIF(), x) is None  # not channels last
    assert window(LIF(), last.double()) is None and window(LIF(surrogate="atan"), last) is None


def test_spikes_that_step_shows_to_be_whole_numbers():
    """Those of a neuron that multiplies them by anything else are left to whoever packs and verifies them."""
    tops = {LIF: 1, neurons.known["IF"]: 1, neurons.known["PLIF"]: 1, neurons.known["SignedIF"]: 0, neurons.known["AugIF"]: 0, Scaled: 0}
    for kind, top in tops.items():
        neuron = kind()
        assert trace.largest(trace.step_graph(neuron, tuple(neuron.values()), torch.float32)) == top
        assert trace.largest(trace.step_graph(kind(fires="smooth"), tuple(neuron.values()), torch.float32)) == 0
    for levels in (1, 2, 5):
        neuron = MLF(levels=levels)
        assert trace.largest(trace.step_graph(neuron, tuple(neuron.values()), torch.float32)) == levels


class Scaled(LIF):
    def step(self, x, state, p):
        spikes, state = super().step(x, state, p)
        return 0.5 * spikes, state


def test_spikes_that_are_no_whole_numbers():
    net = vgg(pool=True)
    net[2] = Scaled(threshold=0.6)
    ours, snn = gradients(net, "sparse")
    agree(ours, gradients(net, "dense")[0])
    assert [snn.ways()[name].forward for name in ("4", "8")] == ["dense", "list"] and "not 1 times" in snn.ways()["4"].reason


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(max=0.0)




class Clipped(LIF):
    def fire(self, membrane, threshold):
        return Half.apply(super().fire(membrane, threshold))


def test_a_backward_that_is_not_linear_has_no_window():
    neuron = Clipped()
    neuron.steps, neuron._emits = 3, True
    y = neuron(torch.randn(6, 33, requires_grad=True))
    assert emitted.of(y).window is None


def resnet():
    return ds_resnet(8, channels=(16, 24, 32), classes=5, inputs=2).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("make, layers", [(vgg, 2), (lambda: vgg(pool=True), 2), (resnet, 4)])
@pytest.mark.parametrize("memory", ["plain", "packed"])
@pytest.mark.parametrize("fusion", ["none", "norms"])
def test_trains_as_dense_layers_do(make, layers, memory, fusion, calls):
    net = make()
    plain, _ = gradients(net, "dense")
    ours, snn = gradients(net, "sparse", memory=memory, fusion=fusion)
    agree(ours, plain)
    taken = [way for way in snn.ways().values() if way.pulled == "list"]
    assert len(taken) == len(calls) == layers and all(0 < way.open < 1 for way in taken)
    assert not any("_emits" in m.__dict__ for m in snn.modules())


def test_auto_asks_the_share(calls):
    net = vgg()
    for module in net.modules():
        if isinstance(module, LIF):
            module.surrogate = Rectangle(width=0.01)
    found = []
    for width in (0.02, 20.0):
        for module in net.modules():
            if isinstance(module, LIF):
                module.surrogate = Rectangle(width=width)
        snn = SNN(net, 2, engine="auto")
        snn(torch.rand(32, 2, 24, 24)).sum().backward()
        found.append([snn.ways()[name] for name in ("3", "6")])
    assert all(way.open is None or (way.open > 0.9 and way.pulled == "dense") for way in found[1])
    assert all(way.open is None or way.open < 0.1 for way in found[0])


@pytest.mark.parametrize("surrogate", ["atan", "sigmoid"])
def test_what_stays_dense(surrogate, calls):
    ours, snn = gradients(vgg(surrogate=surrogate), "sparse")
    assert not calls and {way.pulled for way in snn.ways().values()} == {"dense"} and all(g.isfinite().all() for g in ours)


def test_linear_layers_and_groups_stay_dense(calls):
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3), LIF(), nn.Conv2d(8, 8, 3, groups=4), LIF(), nn.Conv2d(8, 8, 3, dilation=2), nn.Flatten(), nn.Linear(8 * 1, 8),
        LIF(), nn.Linear(8, 3),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    snn = SNN(net, 2, engine="sparse")
    snn(torch.rand(2, 2, 9, 9)).sum().backward()
    assert not calls


@pytest.mark.parametrize("kind", ["full_backward", "full_backward_pre", "forward"])
def test_hooks_of_modules(kind, calls):
    net, x = vgg(), torch.rand(2, 2, 8, 8)
    found = []
    for engine in ("dense", "sparse"):
        ours, seen = copy.deepcopy(net), []
        if kind == "forward":
            ours[2].register_forward_hook(lambda module, args, output: 1 * output)
        else:
            getattr(ours[3], f"register_{kind}_hook")(lambda module, *grads, seen=seen: seen.append(grads[0][0]))
        SNN(ours, 2, engine=engine, fusion="none")(x).square().sum().backward()
        found.append([*seen, *(p.grad for p in ours.parameters())])
    agree(found[1], found[0])
    assert len(calls) == 1  # of the two layers, that whose input the hook does not stand before


class Shared(nn.Module):
    """Spikes that two convolutions and a sum read."""

    def __init__(self):
        super().__init__()
        self.first, self.neuron = nn.Conv2d(2, 16, 3, padding=1), MLF()
        self.one, self.other = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.last = nn.Linear(16, 4)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        x = self.neuron(self.first(x))
        return self.last((self.one(x) * self.other(x) + x).mean((2, 3)))


def test_gradients_of_all_readers_are_summed(calls):
    net = Shared()
    agree(gradients(net, "sparse")[0], gradients(net, "dense")[0])
    assert len(calls) == 2


@pytest.mark.parametrize("memory", ["plain", "packed"])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_checkpoints(memory, reentrant, pool):
    class Checkpointed(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.parts = nn.ModuleList([net[:3], net[3:4], net[4:]])

        def forward(self, x):
            for part in self.parts:
                x = checkpoint(part, x, use_reentrant=reentrant)
            return x

    net = vgg(pool)
    plain, _ = gradients(net, "dense")
    if reentrant:  # it needs an input with a gradient
        x = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        ours = copy.deepcopy(net)
        y = SNN(Checkpointed(ours), 3, engine="sparse", memory=memory)(x)
        (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
        agree([p.grad for p in ours.parameters()], plain)
        return
    agree(gradients(Checkpointed(net), "sparse", memory=memory)[0], plain)


@pytest.mark.parametrize("between, known", [
    ((), True), ((nn.MaxPool2d(2),), True), ((nn.MaxPool2d(3, 1, 1), nn.Identity(), nn.MaxPool2d((2, 1))), True),
    ((nn.MaxPool2d(2, ceil_mode=True),), False), ((nn.MaxPool2d(2, dilation=2),), False), ((nn.AvgPool2d(2),), False),
])  # fmt: skip
def test_a_layer_is_followed_to_the_neuron_before(between, known):
    net = nn.Sequential(nn.Conv2d(2, 4, 3), LIF(), *between, nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4, 3))
    ours, first, last = sparse.readers(net, fuse.traced(net)[0])[1], net[1], [m for m in reversed(between) if type(m) is not nn.Identity]
    assert ours.before == ((*last, first) if known else ())


def test_no_window_without_a_neuron():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    assert emitted.of(x) is None and emitted.of(x * 1) is None
