"""STBP-tdBN's ResNet-19.

    conv3x3 [128] - 3 x [128] - 3 x [256, s2] - 2 x [512, s2] - average pool - 256 - 10

tdBN with threshold 0.5; alpha = 1 in a chain and 1/sqrt(2) for the two norms that are summed before one neuron.
Conflict: TET's re-implementation starts at 64 channels and widens in stage 1 (`stem=64`), with fewer parameters.
"""

from torch import nn

from spikeloom.neurons import LIF, Neuron
from spikeloom.nn import blocks
from spikeloom.nn.norms import TdBN


def tdbn_resnet19(
    *, inputs: int = 3, classes: int = 10, stem: int = 128, decay: float = 0.25, threshold: float = 0.5, epsilon: str = "inside"
) -> nn.Sequential:
    """Spiking ResNet-19 with tdBN. x `[T*B, inputs, 32, 32]` to `[T*B, classes]`."""

    def neuron() -> Neuron:
        return LIF(decay=decay, threshold=threshold)

    def norm(channels: int, added: int = 1) -> nn.Module:
        return TdBN(channels, threshold=threshold, alpha=added**-0.5, epsilon=epsilon)

    net = nn.Sequential(nn.Conv2d(inputs, stem, 3, padding=1, bias=False), norm(stem), neuron())
    last = stem
    for stage, (channels, count) in enumerate(((128, 3), (256, 3), (512, 2))):
        for i in range(count):
            net.append(blocks.Plain(last, channels, stride=2 if stage and not i else 1, neuron=neuron, norm=norm))
            last = channels
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 256), neuron(), nn.Linear(256, classes)])
    return net
