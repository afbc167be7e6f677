"""QCFS, quantisation-clip-floor-shift: a ReLU with the steps and the ceiling of an integrator's firing rate.

    a = scale * clip(floor(z levels / scale + 1/2) / levels, 0, 1)

At constant input it equals, bit for bit up to rounding of a, what IF(reset="subtract", threshold=scale, start=0.5) emits in T = levels
steps: scale times the rate.
"""

import torch
from torch import Tensor, nn

from spikeloom.core import bibliography
from spikeloom.core.params import Count, Param


class QCFS(nn.Module):
    """Quantised ReLU with a learned ceiling; the floor lets gradients pass as if it were not there.

    Args:
        levels: L, the number of steps from 0 to the ceiling.
        scale: lambda, the ceiling at the start of training; one learned number.

    z and the result have the same shape; for 16-bit z the result is float32.
    """

    paper = bibliography.QCFS

    def __init__(self, levels: int = 4, scale: float = 8.0) -> None:
        super().__init__()
        self.levels = Count(4, low=1, doc="L, the number of steps").check("QCFS.levels", levels)
        self.scale = nn.Parameter(Param(8.0, low=0, low_open=True, doc="the ceiling").check("QCFS.scale", scale).clone())

    def forward(self, z: Tensor) -> Tensor:
        z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z  # half a number's digits move the steps
        steps = z * self.levels / self.scale + 0.5
        steps = steps + (steps.floor() - steps).detach()
        return self.scale * (steps / self.levels).clamp(0, 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
