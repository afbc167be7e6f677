"""A small network with norms, and the gradients of one step of it."""

import copy

import torch
from torch import nn

from spikeloom import LIF, SNN


def vgg(pool=False, **options):
    net = nn.Sequential()
    for inputs, outputs in ((2, 24), (24, 40), (40, 40)):
        net.extend([nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), LIF(threshold=0.6, **options)])
        if pool:
            net.append(nn.MaxPool2d(2))
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5)])
    return net.to(memory_format=torch.channels_last)


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
