"""Input gradients only where the surrogate's window of the neuron before is open: which windows, whose layers, the same training."""

import copy
import gc

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from spikeloom import LIF, MLF, SNN, neurons
from spikeloom.engine.bits import unpack
from spikeloom.engine.events import input as restricted
from spikeloom.models import ds_resnet
from spikeloom.nn import sparse
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
    neuron.steps, neuron._windowed = 3, True
    x = torch.randn(shape)
    x = (x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x).requires_grad_()
    y = neuron(x)
    is_open = unpack(y.grad_fn.window.bits())
    inside = neuron.trace(x.detach())["distance"].abs() < neuron.surrogate.half_support
    assert torch.equal(is_open > 0, inside.any(1).flatten(0, 1)) and 0 < is_open.mean() < 1
    grad, leaves = torch.randn(y.shape), [x, *neuron.parameters()]
    plain = torch.autograd.grad(y, leaves, grad, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, torch.autograd.grad(y, leaves, grad * is_open * 1.0), strict=True))


def test_where_no_window_is_known():
    x = torch.randn(6, 8, 4, 4, requires_grad=True)

    def window(neuron, x):
        neuron.steps, neuron._windowed = 3, True
        return getattr(neuron(x).grad_fn, "window", None)

    last = x.contiguous(memory_format=torch.channels_last)
    assert window(LIF(), last) is not None
    assert window(LIF(), x) is None  # not channels last
    assert window(LIF(), last.double()) is None and window(LIF(memory="packed", reset_gradient="detached"), last) is None


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
    neuron.steps, neuron._windowed = 3, True
    y = neuron(torch.randn(6, 33, requires_grad=True))
    assert y.grad_fn.window is None


def vgg(pool=False, **options):
    net = nn.Sequential()
    for inputs, outputs in ((2, 24), (24, 40), (40, 40)):
        net.extend([nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), LIF(threshold=0.6, **options)])
        if pool:
            net.append(nn.MaxPool2d(2))
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5)])
    return net.to(memory_format=torch.channels_last)


def resnet():
    return ds_resnet(8, channels=(16, 24, 32), classes=5, inputs=2).to(memory_format=torch.channels_last)


def gradients(net, engine, look=None, **options):
    """Parameters' gradients of one step; and the SNN. look: called with the network before the backward pass."""
    net = copy.deepcopy(net)
    snn = SNN(net, 3, engine=engine, **options)
    x = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    y = snn(x)
    if look:
        look(net)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    return [p.grad for p in net.parameters()], snn


def agree(ours, plain):
    for a, b in zip(ours, plain, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-7


@pytest.fixture
def calls(monkeypatch):
    """How often a restricted gradient is computed."""
    from spikeloom.engine.events import layer

    module, made = __import__("sys").modules[layer.__module__], []
    plain = module.conv2d_input
    monkeypatch.setattr(module, "conv2d_input", lambda *args: made.append(1) or plain(*args))
    return made


@pytest.mark.parametrize("make, layers", [(vgg, 2), (resnet, 4)])
@pytest.mark.parametrize("memory", ["plain", "packed"])
@pytest.mark.parametrize("fusion", ["none", "norms"])
def test_trains_as_dense_layers_do(make, layers, memory, fusion, calls):
    net = make()
    plain, _ = gradients(net, "dense")
    ours, snn = gradients(net, "sparse", memory=memory, fusion=fusion)
    agree(ours, plain)
    taken = [way for way in snn.ways().values() if way.pulled == "list"]
    assert len(taken) == len(calls) == layers and all(0 < way.open < 1 for way in taken)
    assert not any("_windowed" in m.__dict__ for m in snn.modules())


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


@pytest.mark.parametrize("options", [{"pool": True}, {"surrogate": "atan"}, {"surrogate": "sigmoid"}])
def test_what_stays_dense(options, calls):
    ours, snn = gradients(vgg(**options), "sparse")
    assert not calls and {way.pulled for way in snn.ways().values()} == {"dense"} and all(g.isfinite().all() for g in ours)


def test_linear_layers_and_groups_stay_dense(calls):
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3), LIF(), nn.Conv2d(8, 8, 3, groups=4), LIF(), nn.Conv2d(8, 8, 3, dilation=2), nn.Flatten(), nn.Linear(8 * 1, 8),
        LIF(), nn.Linear(8, 3),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    snn = SNN(net, 2, engine="sparse")
    snn(torch.rand(2, 2, 9, 9)).sum().backward()
    assert not calls


class Looked(nn.Module):
    """A neuron and a convolution, and somebody who looks at the spikes between them."""

    def __init__(self, how):
        super().__init__()
        self.first, self.neuron, self.conv, self.how = nn.Conv2d(2, 16, 3, padding=1), LIF(), nn.Conv2d(16, 8, 3), how
        self.seen = []
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        spikes = self.neuron(self.first(x))
        if self.how == "before":
            spikes.register_hook(self.seen.append)
        y = self.conv(spikes)
        if self.how == "after":
            spikes.register_hook(self.seen.append)
        if self.how in ("held", "retained"):
            self.seen = [spikes]
        if self.how == "retained":
            spikes.retain_grad()
        return y.flatten(1)


@pytest.mark.parametrize("how", ["before", "after", "held", "retained", "nobody"])
def test_who_looks_at_the_gradient_gets_all_of_it(how, calls):
    net, x = Looked(how), torch.randn(3, 2, 7, 7)
    seen = []
    for engine in ("dense", "sparse"):
        net.seen = []
        y = SNN(net, 2, engine=engine)(x)
        gc.collect()
        if how == "held":
            seen.append(torch.autograd.grad(y.sum(), net.seen[0])[0])
            continue
        y.sum().backward()
        seen.append(net.seen[0].grad if how == "retained" else net.seen[0] if net.seen else None)
    assert len(calls) == (how == "nobody")
    if how != "nobody":
        torch.testing.assert_close(seen[1], seen[0])


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
def test_checkpoints(memory, reentrant):
    class Checkpointed(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.parts = nn.ModuleList([net[:3], net[3:4], net[4:]])

        def forward(self, x):
            for part in self.parts:
                x = checkpoint(part, x, use_reentrant=reentrant)
            return x

    net = vgg()
    plain, _ = gradients(net, "dense")
    if reentrant:  # it needs an input with a gradient
        x = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        ours = copy.deepcopy(net)
        y = SNN(Checkpointed(ours), 3, engine="sparse", memory=memory)(x)
        (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
        agree([p.grad for p in ours.parameters()], plain)
        return
    agree(gradients(Checkpointed(net), "sparse", memory=memory)[0], plain)


def test_a_layer_is_followed_to_the_neuron_before():
    net = vgg()
    from spikeloom.nn import fuse

    found = {reader.name: reader.before for reader in sparse.readers(net, fuse.traced(net)[0])}
    assert found == {"0": None, "3": net[2], "6": net[5], "11": None}


def test_no_window_without_a_neuron():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    assert restricted.opened(x) is None and restricted.opened(x * 1) is None
