"""Pooling of spike times."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class FirstSpikePool2d(nn.Module):
    """The earliest spike of every window `[B, C, H, W]` to `[B, C, H', W']`; infinity where none of them spikes. Args as `nn.MaxPool2d`."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, t: Tensor) -> Tensor:
        return -F.max_pool2d(-t, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"
