"""The networks of ReL-PSP neurons of Zhang et al. 2021: spike times in, scores -t of the output neurons out. For an SNN of one step."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from spikeloom.timing import FirstSpikePool2d, FirstSpikeReadout, RelPSPConv2d, RelPSPLinear


def relpsp_mlp(
    *, features: int = 784, hidden: int = 800, classes: int = 10, silent: str = "push", push: float = 0.001, mean: float = 5.0,
    spread: float = 1.0, after: float = 1.0,
) -> nn.Sequential:  # fmt: skip
    """784-800-10. Times `[B, ...]` of `features` pixels to scores `[B, classes]`."""
    neurons: dict[str, Any] = {"silent": silent, "push": push, "mean": mean, "spread": spread}
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(), fc1=RelPSPLinear(features, hidden, **neurons), fc2=RelPSPLinear(hidden, classes, **neurons),
            readout=FirstSpikeReadout(after),
        )
    )  # fmt: skip


def relpsp_cnn(
    *, inputs: int = 1, size: int = 28, classes: int = 10, channels: tuple[int, int] = (16, 32), hidden: tuple[int, int] = (800, 128),
    silent: str = "push", push: float = 0.001, mean: float = 5.0, spread: float = 1.0, after: float = 1.0,
) -> nn.Sequential:  # fmt: skip
    """16C5-P2-32C5-P2-800-128-10 without padding. Times `[B, inputs, size, size]` to scores `[B, classes]`."""
    neurons: dict[str, Any] = {"silent": silent, "push": push, "mean": mean, "spread": spread}
    side = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=RelPSPConv2d(inputs, channels[0], 5, **neurons), pool1=FirstSpikePool2d(2),
            conv2=RelPSPConv2d(channels[0], channels[1], 5, **neurons), pool2=FirstSpikePool2d(2), flatten=nn.Flatten(),
            fc1=RelPSPLinear(channels[1] * side**2, hidden[0], **neurons), fc2=RelPSPLinear(*hidden, **neurons),
            fc3=RelPSPLinear(hidden[1], classes, **neurons), readout=FirstSpikeReadout(after),
        )
    )  # fmt: skip
