"""The two MNIST networks of STBP. Biases on, average pooling without a neuron, output neurons that spike.

    cnn   [1, 28, 28] - 32c3 - avg2 - 32c3 - avg2 - 128 - 10       211,690 parameters
    mlp   [784] - 800 - 10                                          636,010 parameters
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn

from spikeloom.neurons import LIF, Neuron


def stbp_cnn(*, inputs: int = 1, size: int = 28, classes: int = 10, decay: float = 0.2, threshold: float = 0.5) -> nn.Sequential:
    """STBP's convolutional network, names as in the authors' code. x `[T*B, inputs, size, size]` to spikes `[T*B, classes]`."""
    neuron = _lif(decay, threshold)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(inputs, 32, 3, padding=1), neuron1=neuron(), pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(32, 32, 3, padding=1), neuron2=neuron(), pool2=nn.AvgPool2d(2), flatten=nn.Flatten(),
            fc1=nn.Linear(32 * (size // 4) ** 2, 128), neuron3=neuron(), fc2=nn.Linear(128, classes), neuron4=neuron(),
        )
    )  # fmt: skip


def stbp_mlp(*, features: int = 784, hidden: int = 800, classes: int = 10, decay: float = 0.2, threshold: float = 0.5) -> nn.Sequential:
    """STBP's fully connected network. x `[T*B, ...]` of `features` values to spikes `[T*B, classes]`."""
    neuron = _lif(decay, threshold)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(), fc1=nn.Linear(features, hidden), neuron1=neuron(),
            fc2=nn.Linear(hidden, classes), neuron2=neuron(),
        )
    )  # fmt: skip


def _lif(decay: float, threshold: float) -> Callable[[], Neuron]:
    options: dict[str, Any] = {"decay": decay, "threshold": threshold, "surrogate": "rectangle"}
    return lambda: LIF(**options)
