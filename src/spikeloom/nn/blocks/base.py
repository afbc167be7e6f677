"""What residual blocks share: the branch of convolutions and the shortcut. A block's file says how the two are joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn

from spikeloom.core import params
from spikeloom.core.paper import Paper
from spikeloom.neurons import Neuron


class Norm(Protocol):
    """Makes the norm of a convolution with `channels` outputs, of which `added` branches are summed before one neuron."""

    def __call__(self, channels: int, added: int = 1) -> nn.Module: ...


class Residual(nn.Module):
    """A residual block over `[T*B, C, H, W]`.

    Args:
        inputs, outputs: channels in and out; stride: of the block's first 3x3 convolution.
        neuron: makes a neuron. norm: makes a norm.
        branch: `"basic"` (two 3x3 convolutions) or `"bottleneck"` (1x1, 3x3, 1x1 with a quarter of the width inside).
    """

    paper: ClassVar[Paper]
    # how many branches are summed before the neuron that follows the last norm
    added: ClassVar[int] = 1
    # whether a shortcut that changes the shape ends in a neuron of its own
    shortcut: ClassVar[Literal["fires", "analog"]] = "fires"

    def __init__(
        self, inputs: int, outputs: int, *, neuron: Callable[[], Neuron], norm: Norm, stride: int = 1, branch: str = "basic"
    ) -> None:
        super().__init__()
        params.Choice(("basic", "bottleneck")).check("Residual.branch", branch)
        width = outputs if branch == "basic" else outputs // 4
        shapes = (
            [(inputs, width, 3, stride), (width, outputs, 3, 1)]
            if branch == "basic"
            else [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        )
        self.branch = nn.Sequential()
        for i, (c_in, c_out, kernel, s) in enumerate(shapes):
            last = i == len(shapes) - 1
            self.branch.append(nn.Conv2d(c_in, c_out, kernel, s, kernel // 2, bias=False))
            self.branch.append(norm(c_out, self.added if last else 1))
            if not last:
                self.branch.append(neuron())
        self.neuron = neuron()
        self.skip = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.skip.extend([nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs, self.added)])
            if self.shortcut == "fires":
                self.skip.append(neuron())

    @property
    def last_norm(self) -> nn.Module:
        """The norm whose weight and bias at zero silence the branch."""
        return self.branch[-1]

    def forward(self, x: Tensor) -> Tensor:
        """x `[T*B, inputs, H, W]` to `[T*B, outputs, H/stride, W/stride]`."""
        raise NotImplementedError
