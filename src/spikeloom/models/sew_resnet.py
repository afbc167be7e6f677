"""SEW-ResNet and the plain Spiking ResNet it is measured against, after torchvision's ResNet-18 to 152 with ReLU -> IF.

    stem   conv7x7 s2 [64] - BN - IF - maxpool3x3 s2
    stages of basic (18, 34) or bottleneck (50, 101, 152) blocks, 64 to 512 channels (x4 for bottlenecks)
    head   global average pool - linear, at every step
"""

from typing import Any

from torch import nn

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.neurons import IF
from spikeloom.nn import blocks

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def sew_resnet(
    depth: int = 18, *, inputs: int = 3, classes: int = 1000, block: str = "sew", connect: str = "add", start: str = "default"
) -> nn.Sequential:
    """SEW-ResNet (`block="sew"`) or Spiking ResNet (`"plain"`). x `[T*B, inputs, H, W]` to `[T*B, classes]`.

    start: `"zero_residual"` sets the last norm's weight of every block to 0, as the paper's plain baselines do, and for
    `connect="and"` its bias to 1: every block that keeps its shape starts as the identity.
    """
    if depth not in STAGES:
        raise ParameterError(refusal("sew_resnet.depth", depth, f"one of {sorted(STAGES)}"))
    Choice(("sew", "plain")).check("sew_resnet.block", block)
    Choice(("default", "zero_residual")).check("sew_resnet.start", start)
    expansion = 1 if depth < 50 else 4
    net = nn.Sequential(nn.Conv2d(inputs, 64, 7, 2, 3, bias=False), _norm(64), IF(), nn.MaxPool2d(3, 2, 1))
    last = 64
    for stage, (channels, count) in enumerate(zip((64, 128, 256, 512), STAGES[depth], strict=True)):
        for i in range(count):
            options: dict[str, Any] = {"stride": 2 if stage and not i else 1, "neuron": IF, "norm": _norm}
            options["branch"] = "basic" if expansion == 1 else "bottleneck"
            outputs = channels * expansion
            net.append(blocks.SEW(last, outputs, connect=connect, **options) if block == "sew" else blocks.Plain(last, outputs, **options))
            last = outputs
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)])
    return _start(net, start, connect)


def spiking_resnet(depth: int = 18, **options: Any) -> nn.Sequential:
    """The plain Spiking ResNet: `sew_resnet` with blocks SN(F(S) + S)."""
    return sew_resnet(depth, **{"block": "plain", **options})


def _norm(channels: int, added: int = 1) -> nn.Module:
    return nn.BatchNorm2d(channels)


def _start(net: nn.Sequential, start: str, connect: str) -> nn.Sequential:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if start == "zero_residual" and isinstance(module, blocks.Residual):
            nn.init.zeros_(module.last_norm.weight)
            if connect == "and" and isinstance(module, blocks.SEW):
                nn.init.ones_(module.last_norm.bias)
    return net
