"""The small SEW networks for event cameras, with PLIF neurons (tau = 2), 3x3 blocks and a max-pool after each.

    7B        conv1x1 [32] - BN - PLIF, 7 x {SEW block [32], maxpool2}, linear; input [2, 128, 128]               130,426 parameters
    Wide-7B   conv1x1 [64], 4 x {block [64], maxpool2}, conv1x1 [128], 3 x {block [128], maxpool2}, linear      1,192,218 parameters
"""

from collections.abc import Sequence

from torch import nn

from spikeloom.core.params import Choice
from spikeloom.neurons import PLIF, Neuron
from spikeloom.nn import blocks


def sew_net(
    stages: Sequence[tuple[int, int]], *, inputs: int = 2, classes: int = 10, size: int = 128, block: str = "sew", connect: str = "add",
    tau: float = 2.0, start: str = "zero_residual",
) -> nn.Sequential:
    """A SEW net of `stages` = ((channels, blocks), ...), a max-pool of 2 after every block while the map is larger than 1.

    x `[T*B, inputs, size, size]` to `[T*B, classes]`. block: `"sew"` or `"plain"`.
    """
    Choice(("sew", "plain")).check("sew_net.block", block)
    Choice(("zero_residual", "default")).check("sew_net.start", start)

    def neuron() -> Neuron:
        return PLIF(tau=tau)

    def norm(channels: int, added: int = 1) -> nn.Module:
        return nn.BatchNorm2d(channels)

    net, last = nn.Sequential(), inputs
    for channels, count in stages:
        if channels != last:
            net.extend([nn.Conv2d(last, channels, 1, bias=False), norm(channels), neuron()])
        for _ in range(count):
            if block == "sew":
                residual: blocks.Residual = blocks.SEW(channels, channels, connect=connect, neuron=neuron, norm=norm)
            else:
                residual = blocks.Plain(channels, channels, neuron=neuron, norm=norm)
            if start == "zero_residual":
                nn.init.zeros_(residual.last_norm.weight)
                if connect == "and" and block == "sew":
                    nn.init.ones_(residual.last_norm.bias)
            net.append(residual)
            if size > 1:
                net.append(nn.MaxPool2d(2))
                size //= 2
        last = channels
    net.extend([nn.Flatten(), nn.Linear(last * size * size, classes)])
    return net


def sew_7b(*, classes: int = 11, block: str = "sew", connect: str = "add", tau: float = 2.0) -> nn.Sequential:
    """SEW's 7B-Net for DVS-Gesture, input `[T*B, 2, 128, 128]`."""
    return sew_net(((32, 7),), classes=classes, block=block, connect=connect, tau=tau)


def sew_wide_7b(*, classes: int = 10, block: str = "sew", connect: str = "add", tau: float = 2.0) -> nn.Sequential:
    """SEW's Wide-7B-Net for CIFAR10-DVS, input `[T*B, 2, 128, 128]`."""
    return sew_net(((64, 4), (128, 3)), classes=classes, block=block, connect=connect, tau=tau)
