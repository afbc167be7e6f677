"""The networks of ReL-PSP neurons of Zhang et al. 2021: spike times in, scores -t of the output neurons out. For an SNN of one step.

    mlp    784-800-10
    cnn    [1, 28, 28] - 16c5 - P2 - 32c5 - P2 - 800 - 128 - 10

The inputs' window is 1 and so is the threshold; the time that the loss sees is counted in `unit`s, for the paper's length of the window is
not verified. `until` ends the time: it bounds the slope from below, and with it the gradients. Other options as in `timing.RelPSPLinear`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from spikeloom.timing import FirstSpikePool2d, FirstSpikeReadout, RelPSPConv2d, RelPSPLinear


def relpsp_mlp(
    *, features: int = 784, hidden: int = 800, classes: int = 10, until: float = 6.0, silent: str = "push",
    push: float = 0.1, mean: float = 5.0, spread: float = 0.3, unit: float = 1 / 64,
) -> nn.Sequential:  # fmt: skip
    """One hidden layer. Times `[B, ...]` of `features` pixels to scores `[B, classes]`."""
    neurons: dict[str, Any] = {"until": until, "silent": silent, "push": push, "mean": mean, "spread": spread}
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(), fc1=RelPSPLinear(features, hidden, **neurons), fc2=RelPSPLinear(hidden, classes, **neurons),
            readout=FirstSpikeReadout(unit),
        )
    )  # fmt: skip


def relpsp_cnn(
    *, inputs: int = 1, size: int = 28, classes: int = 10, channels: tuple[int, int] = (16, 32), hidden: tuple[int, int] = (800, 128),
    until: float = 6.0, silent: str = "push", push: float = 0.01, mean: float = 5.0, spread: float = 1.0, unit: float = 1 / 64,
) -> nn.Sequential:  # fmt: skip
    """Two convolutions without padding. Times `[B, inputs, size, size]` to scores `[B, classes]`."""
    neurons: dict[str, Any] = {"until": until, "silent": silent, "push": push, "mean": mean, "spread": spread}
    side = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=RelPSPConv2d(inputs, channels[0], 5, **neurons), pool1=FirstSpikePool2d(2),
            conv2=RelPSPConv2d(channels[0], channels[1], 5, **neurons), pool2=FirstSpikePool2d(2), flatten=nn.Flatten(),
            fc1=RelPSPLinear(channels[1] * side**2, hidden[0], **neurons), fc2=RelPSPLinear(*hidden, **neurons),
            fc3=RelPSPLinear(hidden[1], classes, **neurons), readout=FirstSpikeReadout(unit),
        )
    )  # fmt: skip
