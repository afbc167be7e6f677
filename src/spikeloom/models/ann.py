"""Ordinary networks to convert: what the papers on conversion start from. They take `[B, ...]`; `SNN(net, steps=1)` trains them.

    diehl2015_cnn  [1, 28, 28] - 12c5 - avg2 - 64c5 - avg2 - 10, no biases                                 29,740 parameters
    ann_cnn        [1, 28, 28] - 32c3 - avg2 - 64c3 - avg2 - 128 - 10                                     421,642
    ann_vgg        [3, 32, 32] - 2 x 64c3 - avg2 - 2 x 128c3 - avg2 - 2 x 256c3 - avg4 - 10, batch norms  1,156,554
    ann_resnet     [3, 32, 32] - 32c3 - 3 x 3 blocks of 32, 64, 128 channels - avg8 - 10, batch norms     1,084,586
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.nn.activations import QCFS


def diehl2015_cnn(*, classes: int = 10) -> nn.Sequential:
    """The MNIST network that Diehl et al. (2015) converted, layers named as in the released weights. x `[B, 1, 28, 28]` in [0, 1]."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 12, 5, bias=False), relu1=nn.ReLU(), pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(12, 64, 5, bias=False), relu2=nn.ReLU(), pool2=nn.AvgPool2d(2),
            flatten=nn.Flatten(), fc=nn.Linear(1024, classes, bias=False),
        )
    )  # fmt: skip


def ann_cnn(
    *, inputs: int = 1, size: int = 28, channels: Sequence[int] = (32, 64), hidden: int = 128, classes: int = 10, activation: str = "relu",
    levels: int = 4, start: float = 8.0, begins: str = "given", slope: float = 0.1,
) -> nn.Sequential:  # fmt: skip
    """A small convolutional network with biases. x `[B, inputs, size, size]` to `[B, classes]`; activation as in `ann_vgg`."""
    net, last, chosen = nn.Sequential(), inputs, (activation, levels, start, begins, slope)
    for outputs in channels:
        net.extend([nn.Conv2d(last, outputs, 3, padding=1), _activation(*chosen), nn.AvgPool2d(2)])
        last = outputs
    features = last * (size // 2 ** len(channels)) ** 2
    net.extend([nn.Flatten(), nn.Linear(features, hidden), _activation(*chosen), nn.Linear(hidden, classes)])
    return net


def ann_vgg(
    *, inputs: int = 3, channels: Sequence[int] = (64, 128, 256), classes: int = 10, activation: str = "relu", levels: int = 4,
    start: float = 8.0, begins: str = "given", slope: float = 0.1,
) -> nn.Sequential:  # fmt: skip
    """A VGG of two convolutions a stage with average pools. x `[B, inputs, 32, 32]` to `[B, classes]`.

    activation: `"relu"`, `"leaky_relu"` with `slope`, or `"qcfs"`, quantised to `levels` with a learned scale that begins at `start`,
    or with `begins="fitted"` where the activations of training images lie (see `QCFS`).
    """
    net, last, chosen = nn.Sequential(), inputs, (activation, levels, start, begins, slope)
    for stage, outputs in enumerate(channels):
        if stage:
            net.append(nn.AvgPool2d(2))
        for _ in range(2):
            convolution = nn.Conv2d(last, outputs, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            net.extend([convolution, nn.BatchNorm2d(outputs), _activation(*chosen)])
            last = outputs
    net.extend([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * last, classes)])
    return net


class Residual(nn.Module):
    """act(norm(conv(act(norm(conv(x))))) + shortcut(x)), the activation after the sum, as conversion wants it."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: tuple[str, int, float, str, float]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1, self.act1 = nn.BatchNorm2d(outputs), _activation(*activation)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2, self.act2 = nn.BatchNorm2d(outputs), _activation(*activation)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        return self.act2(torch.add(self.norm2(self.conv2(y)), self.shortcut(x)))


def ann_resnet(
    depth: int = 20, *, inputs: int = 3, channels: Sequence[int] = (32, 64, 128), classes: int = 10, activation: str = "relu",
    levels: int = 4, start: float = 8.0, begins: str = "given", slope: float = 0.1,
) -> nn.Sequential:  # fmt: skip
    """A ResNet of 6n + 2 layers for 32 x 32 images. x `[B, inputs, 32, 32]` to `[B, classes]`; activation as in `ann_vgg`."""
    if depth < 8 or (depth - 2) % 6:
        raise ParameterError(refusal("ann_resnet.depth", depth, "6n + 2: 8, 14, 20, 32 ..."))
    chosen = (activation, levels, start, begins, slope)
    net = nn.Sequential(nn.Conv2d(inputs, channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0]), _activation(*chosen))
    last = channels[0]
    for stage, outputs in enumerate(channels):
        for block in range((depth - 2) // 6):
            net.append(Residual(last, outputs, 2 if stage and not block else 1, chosen))
            last = outputs
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)])
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _activation(name: str, levels: int, start: float, begins: str, slope: float) -> nn.Module:
    Choice(("relu", "leaky_relu", "qcfs")).check("activation", name)
    return {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(slope), "qcfs": lambda: QCFS(levels, start, begins)}[name]()
