"""The networks that are timed, each as a module over `[T*B, ...]` and the shape of one input.

    ds_resnet20   models.ds_resnet, tdBN with eps inside the root, as other libraries have it   [3, 32, 32]
    stbp_cnn      models.stbp_cnn                                                                [1, 28, 28]
    vgg6          64-64-M-128-128-M-256-256-M, each conv3x3 - tdBN - neuron; linear              [3, 32, 32]
    layer         conv3x3 [C, C] - tdBN - neuron                                                 [C, side, side]
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from torch import nn

from spikeloom import models
from spikeloom.bench.neuron import load
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import nearest
from spikeloom.neurons import Neuron
from spikeloom.nn.norms import TdBN

Built = tuple[nn.Module, tuple[int, ...]]
THRESHOLD = 1.0  # of the benchmark's LIF, and so of the norm before it


def ds_resnet20(channels: Sequence[int]) -> Built:
    """MLF's DS-ResNet-20 with these stages, input `[3, 32, 32]`."""
    return models.known["ds_resnet"](20, channels=channels, threshold=THRESHOLD, epsilon="inside"), (3, 32, 32)


def stbp_cnn(channels: Sequence[int]) -> Built:
    """STBP's convolutional network, input `[1, 28, 28]`; it has no stages to widen."""
    return models.known["stbp_cnn"](), (1, 28, 28)


def vgg6(channels: Sequence[int]) -> Built:
    """Two convolutions, each with norm and neuron, and a max-pool per stage; a linear head. Input `[3, 32, 32]`."""
    net, last = nn.Sequential(), 3
    for width in channels:
        for _ in range(2):
            net.extend([nn.Conv2d(last, width, 3, padding=1, bias=False), TdBN(width, threshold=THRESHOLD), load("LIF")])
            last = width
        net.append(nn.MaxPool2d(2))
    side = 32 >> len(channels)
    net.extend([nn.Flatten(), nn.Linear(last * side**2, 10)])
    return net, (3, 32, 32)


def layer(channels: Sequence[int], side: int = 32) -> Built:
    """One convolution with norm and neuron, input `[C, side, side]`."""
    width = channels[0]
    net = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), TdBN(width, threshold=THRESHOLD), load("LIF"))
    return net, (width, side, side)


# with the channels they have when none are asked for
KNOWN: dict[str, tuple[Callable[[Sequence[int]], Built], tuple[int, ...]]] = {
    "ds_resnet20": (ds_resnet20, (16, 32, 64)), "stbp_cnn": (stbp_cnn, ()), "vgg6": (vgg6, (64, 128, 256)),
}  # fmt: skip


def build(model: str, channels: Sequence[int], neuron: str) -> Built:
    """The network `model` with every neuron replaced by `neuron`, `"own"` keeps its own; and the shape of one input.

    Raises ParameterError for an unknown model, or channels it does not have.
    """
    if model not in KNOWN:
        raise ParameterError(f"bench --model: got {model!r}; {nearest(model, list(KNOWN))}")
    make, usual = KNOWN[model]
    if len(channels) != len(usual):
        raise ParameterError(refusal("bench --channels", tuple(channels), f"{len(usual)} numbers for {model}"))
    net, shape = make(channels)
    return (net if neuron == "own" else replaced(net, lambda: load(neuron))), shape


def replaced(net: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """A copy of `net` with a fresh `make()` in place of every neuron."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Neuron):
                setattr(module, name, make())
    return net
