"""Biases and potentials corrected neuron by neuron, beside a plain simulation and in parts of any size."""

import importlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import fx, nn

import spikeloom
from spikeloom.neurons import IF

kept_parts = importlib.import_module("spikeloom.convert.parts")


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)).double()


def spikes(current, steps, start):
    """IF of threshold 1, reset by subtraction: currents `[T, B, n]`, first membrane `[n]` or a number."""
    v, out = np.zeros(current.shape[1:]) + start, []
    for t in range(steps):
        v = v + current[t]
        fired = v >= 1
        v = v - fired
        out.append(fired.astype(float))
    return np.stack(out)


def test_calibration_corrects_as_a_plain_simulation_does():
    steps, net = 9, mlp()
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(1)).double()
    snn = spikeloom.convert(net, "calibration", x, steps)
    neurons = [m for m in snn.net.modules() if isinstance(m, IF)]
    layers = [m for m in snn.net.modules() if isinstance(m, nn.Linear)]
    scales = [snn.conversion.scales[node.name].item() for node, _ in snn.conversion.ann.activations()]
    weights = [layer.weight.detach().numpy() for layer in (net[0], net[2])]
    biases = [layer.bias.detach().numpy().copy() for layer in (net[0], net[2])]
    wanted, pots, a = [], [0.5, 0.5], x.numpy()
    for w, b in zip(weights, biases, strict=True):
        wanted.append(a := np.maximum(a @ w.T + b, 0))
    for what in ("bias", "potential"):
        given = np.stack([x.numpy()] * steps)
        for k in (0, 1):
            current = (given @ weights[k].T + biases[k]) / scales[k]
            lacking = wanted[k] / scales[k] - spikes(current, steps, pots[k]).mean(0)
            if what == "bias":
                biases[k] += lacking.mean(0) * scales[k]
                current = current + lacking.mean(0)
            else:
                pots[k] = pots[k] + steps * lacking.mean(0)
            given = spikes(current, steps, pots[k]) * scales[k]
    for k in (0, 1):
        np.testing.assert_allclose(layers[k].bias.detach().numpy() * scales[k], biases[k], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(0.5 + neurons[k].potential.numpy(), pots[k], rtol=1e-10, atol=1e-12)


class Branches(nn.Module):
    """A neuron that two layers read, a sum, a concatenation, and an average that packs as nothing."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 3, 3, padding=1)
        self.pool, self.last, self.relu = nn.AvgPool2d(2), nn.Linear(12, 3), nn.ReLU()

    def forward(self, x):
        a = self.relu(self.one(x))
        b = self.relu(self.two(a) + a)
        c = self.relu(self.three(self.pool(torch.cat([a, b], 1))))
        return self.last(c.flatten(1))


def dyadic(net):
    """Weights whose sums no order of addition rounds."""
    for p in net.parameters():
        p.data = (p.data * 16).round() / 16
    return net


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])  # the latter's spikes are kept as bits
@pytest.mark.parametrize("rows", [1, 8, 9, 10**6])
def test_parts_of_any_size_correct_alike(rows, dtype, close, monkeypatch):
    torch.manual_seed(2)
    net, x = dyadic(Branches()).to(dtype), (torch.rand(11, 2, 4, 4) * 16).round().to(dtype) / 16
    whole = spikeloom.convert(net, "calibration", x, 8)
    monkeypatch.setattr(kept_parts, "ROWS", rows)
    parts = spikeloom.convert(net, "calibration", x, 8)
    for ours, theirs in zip(parts.state_dict().values(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=close, atol=close)


def test_only_spikes_that_are_still_read_are_kept(monkeypatch):
    torch.manual_seed(2)
    held, keep = [], kept_parts.Part.keep

    def counted(part, node, *given):
        keep(part, node, *given)
        held.append(len(part.kept))

    monkeypatch.setattr(kept_parts.Part, "keep", counted)
    net = nn.Sequential(*[layer for _ in range(5) for layer in (nn.Linear(4, 4), nn.ReLU())], nn.Linear(4, 2))
    spikeloom.convert(net, "calibration", torch.rand(3, 4), 4)
    assert len(held) == 8 and max(held) == 2  # four of five are read, in two passes: a neuron's own spikes and those before it


def test_what_is_kept_comes_back():
    """Spikes, signed counts and other numbers, in parts of different sizes and in any order."""
    graph = fx.symbolic_trace(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)))
    _, neuron, layer, _ = graph.graph.nodes
    size = (4, 3, 5, 5)
    kinds = [torch.randint(0, 2, size), torch.randint(-127, 128, size), torch.rand(size), torch.randint(0, 2, (2, *size[1:]))]
    for order in itertools.permutations(kinds[:3]):
        room, values = kept_parts.Room(4), [x.float() for x in (*order, kinds[3])]
        made = [kept_parts.Part(graph, k, torch.Tensor, {}) for k in range(4)]
        for part, x in zip(made, values, strict=True):
            part.keep(neuron, x, room)
        for part, x in zip(made, values, strict=True):
            assert torch.equal(part.value(neuron), x)
            torch.testing.assert_close(part.value(layer), graph.get_submodule("1")(x), rtol=1e-4, atol=1e-4)
            part.scales[neuron] = torch.tensor(0.3)
            torch.testing.assert_close(part.value(neuron), x * 0.3)
            torch.testing.assert_close(part.value(layer), graph.get_submodule("1")(x * 0.3), rtol=1e-4, atol=1e-4)


def test_random_input_corrects_twice_alike():
    x = torch.rand(30, 6, generator=torch.Generator().manual_seed(1)).double()
    options = {"corrections": ("bias", "potential"), "input": "poisson"}
    once, again = (spikeloom.convert(mlp(), "rueckauer2017", x, 16, **options) for _ in range(2))
    for a, b in zip(once.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


GROWN = """
import resource, torch, spikeloom
from torch import fx, nn

net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8192, 2))

def peak(method):
    spikeloom.convert(net, method, torch.rand(96, 3, 16, 16), 256)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

torch.set_num_threads(1)
spikeloom.tune_allocator()
before = peak("opi")
print(peak("calibration") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss, and glibc")
def test_what_is_kept_leaves_no_holes_in_memory():
    """An output takes 8 MiB, of all 96 parts 768; their bits, 256 KiB a part, must not keep as much from being used again."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    grown = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True, env=alone)
    assert float(grown.stdout) < 300
