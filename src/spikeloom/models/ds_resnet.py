"""MLF's networks: spiking DS-ResNets of 6n + 2 layers and the VGG-16 variant, with multi-level firing units and tdBN.

    stem   conv3x3 [C1] - tdBN - MLF
    stages n blocks each of C1, C2 (stride 2), C3 (stride 2) channels
    head   global average pool - linear, at every step

All 3x3 convolutions without bias, Kaiming-normal start. tdBN has alpha = 1 everywhere and the first level's threshold.
Conflict: reviews say 20 layers on every dataset; the authors' code uses 14 on CIFAR10-DVS, and so does this file.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.neurons import MLF, Neuron
from spikeloom.nn import blocks
from spikeloom.nn.norms import TdBN
from spikeloom.surrogates import Rectangle


def ds_resnet(
    depth: int = 20, *, channels: Sequence[int] = (64, 128, 256), inputs: int = 3, classes: int = 10, block: str = "ds", levels: int = 3,
    decay: float = 0.25, threshold: float = 0.6, spacing: float = 1.0, width: float = 1.0, epsilon: str = "outside",
    input_norm: str = "none",
) -> nn.Sequential:
    """DS-ResNet (`block="ds"`) or its plain spiking twin (`"plain"`). x `[T*B, inputs, H, W]` to `[T*B, classes]`.

    depth: 6n + 2. levels, threshold, spacing, width: of the MLF units (K = 1 is LIF). epsilon: see `TdBN`.
    input_norm: `"tdbn"` puts a tdBN without affine before the stem, as the event-camera networks have.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ParameterError(refusal("ds_resnet.depth", depth, "6n + 2: 8, 14, 20, 32, 44, 68 ..."))
    kind = {"ds": blocks.DS, "plain": blocks.Plain}[Choice(("ds", "plain")).check("ds_resnet.block", block)]
    neuron, norm = _parts(levels, decay, threshold, spacing, width, epsilon)
    net = nn.Sequential()
    if Choice(("none", "tdbn")).check("ds_resnet.input_norm", input_norm) == "tdbn":
        net.append(TdBN(inputs, threshold=threshold, epsilon=epsilon, affine="none"))
    net.extend([nn.Conv2d(inputs, channels[0], 3, padding=1, bias=False), norm(channels[0]), neuron()])
    last = channels[0]
    for stage, outputs in enumerate(channels):
        for i in range((depth - 2) // 6):
            net.append(kind(last, outputs, stride=2 if stage and not i else 1, neuron=neuron, norm=norm))
            last = outputs
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)])
    return _kaiming(net)


def ds_resnet14(**options: Any) -> nn.Sequential:
    """DS-ResNet-14 for CIFAR-10: 2,777,674 parameters."""
    return ds_resnet(14, **options)


def ds_resnet20(**options: Any) -> nn.Sequential:
    """DS-ResNet-20 for CIFAR-10: 4,327,754 parameters."""
    return ds_resnet(20, **options)


def ds_resnet32(**options: Any) -> nn.Sequential:
    """DS-ResNet-32 for CIFAR-10: 7,427,914 parameters."""
    return ds_resnet(32, **options)


def ds_resnet44(**options: Any) -> nn.Sequential:
    """DS-ResNet-44 for CIFAR-10: 10,528,074 parameters."""
    return ds_resnet(44, **options)


def ds_resnet68(**options: Any) -> nn.Sequential:
    """DS-ResNet-68 for CIFAR-10: 16,728,394 parameters."""
    return ds_resnet(68, **options)


def ds_resnet20_gesture(**options: Any) -> nn.Sequential:
    """DS-ResNet-20 of 16-32-64 channels for DVS-Gesture, input `[T*B, 2, 32, 32]`: 272,395 parameters."""
    return ds_resnet(20, **{"channels": (16, 32, 64), "inputs": 2, "classes": 11, "input_norm": "tdbn", **options})


def ds_resnet14_cifar10dvs(**options: Any) -> nn.Sequential:
    """DS-ResNet-14 of 32-64-128 channels for CIFAR10-DVS, input `[T*B, 2, 42, 42]`: 696,330 parameters."""
    return ds_resnet(14, **{"channels": (32, 64, 128), "inputs": 2, **options})


def mlf_vgg16(
    *, inputs: int = 3, classes: int = 10, levels: int = 3, decay: float = 0.25, threshold: float = 0.6, spacing: float = 1.0,
    width: float = 1.0, epsilon: str = "outside", dropout: float = 0.25,
) -> nn.Sequential:
    """VGG-16 with MLF units, average pooling and a 512-256 head. x `[T*B, inputs, 32, 32]` to `[T*B, classes]`."""
    neuron, norm = _parts(levels, decay, threshold, spacing, width, epsilon)
    net, last = nn.Sequential(), inputs
    for outputs, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            net.extend([nn.Conv2d(last, outputs, 3, padding=1), norm(outputs), neuron()])
            last = outputs
        net.append(nn.AvgPool2d(2))
    net.append(nn.Flatten())
    for outputs in (512, 256):
        net.extend([nn.Dropout(dropout), nn.Linear(last, outputs), neuron()])
        last = outputs
    net.append(nn.Linear(last, classes))
    return _kaiming(net)


def _parts(
    levels: int, decay: float, threshold: float, spacing: float, width: float, epsilon: str
) -> tuple[Callable[[], Neuron], Callable[..., nn.Module]]:
    def neuron() -> Neuron:
        return MLF(levels=levels, decay=decay, threshold=threshold, spacing=spacing, surrogate=Rectangle(width=width))

    def norm(channels: int, added: int = 1) -> nn.Module:
        return TdBN(channels, threshold=threshold, epsilon=epsilon)

    return neuron, norm


def _kaiming(net: nn.Sequential) -> nn.Sequential:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return net
