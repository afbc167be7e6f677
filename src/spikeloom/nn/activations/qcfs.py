"""QCFS, quantisation-clip-floor-shift: a ReLU with the steps and the ceiling of an integrator's firing rate.

    a = scale * clip(floor(z levels / scale + 1/2) / levels, 0, 1)

At constant input it equals, bit for bit up to rounding of a, what IF(reset="subtract", threshold=scale, start=0.5) emits in T = levels
steps: scale times the rate.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spikeloom.core import bibliography
from spikeloom.core.params import Choice, Count, Param

PIECE = 1 << 16  # elements at a time
BEGINS = Choice(("given", "fitted"), "the scale at the start of training")
TRIED = 100  # scales, from a hundredth of the largest activation to all of it


class QCFS(nn.Module):
    """Quantised ReLU with a learned ceiling; the floor lets gradients pass as if it were not there.

    Args:
        levels: L, the number of steps from 0 to the ceiling.
        scale: lambda, the ceiling at the start of training; one learned number.
        begins: `"given"`, with that scale, or `"fitted"`: `fit_scales` replaces it. The paper's is `"given"`.

    z and the result have the same shape; for 16-bit z the result is float32.
    """

    paper = bibliography.QCFS

    def __init__(self, levels: int = 4, scale: float = 8.0, begins: str = "given") -> None:
        super().__init__()
        self.begins = BEGINS.check("QCFS.begins", begins)
        self.levels = Count(4, low=1, doc="L, the number of steps").check("QCFS.levels", levels)
        self.scale = nn.Parameter(Param(8.0, low=0, low_open=True, doc="the ceiling").check("QCFS.scale", scale).clone())

    def forward(self, z: Tensor) -> Tensor:
        return _Quantise.apply(z, self.scale, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


@torch.no_grad()
def fit_scales(net: nn.Module, x: Tensor) -> None:
    """Set the scale of each QCFS of `net` that begins `"fitted"`: of hundredths of its largest activation for inputs x, `[B, ...]` as `net`
    takes them, the one whose steps are nearest, in the mean square, to the ReLU.

    Layer after layer: each reads what the quantised ones before it make. One that nothing reaches keeps its scale. Norms are those of
    evaluation. The criterion is that of the thresholds of Li et al. 2021 (calibration), which `normalisers.MMSE` finds for a ReLU network.
    """

    def fit(module: QCFS, inputs: tuple[Tensor, ...]) -> None:
        z = inputs[0].detach().flatten()
        z = z[:: max(z.numel() // (1 << 18), 1)].double()
        scales = z.amax().clamp(min=0) * torch.arange(1, TRIED + 1, device=z.device) / TRIED
        if scales[-1] > 0:
            error = [(_Quantise.apply(z, scale, module.levels) - z.relu()).square().sum() for scale in scales]
            module.scale.fill_(scales[torch.stack(error).argmin()])

    handles = [m.register_forward_pre_hook(fit) for m in net.modules() if isinstance(m, QCFS) and m.begins == "fitted"]
    training = net.training
    try:
        if handles:
            net.eval()(x)
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()


class _Quantise(torch.autograd.Function):
    """In pieces that a cache holds: written as one torch call after the other it would take more time than the convolutions around it."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(z, scale)
        ctx.levels = levels
        wide = torch.float32 if z.dtype in (torch.float16, torch.bfloat16) else z.dtype  # half a number's digits move the steps
        result = torch.empty_like(z, dtype=wide)
        for part, given in zip(_pieces(result), _pieces(z), strict=True):
            _steps(part.copy_(given), scale, levels).div_(levels).clamp_(0, 1).mul_(scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """With the floor passed, da/dz = 1 between the ends, and da/dscale = a/scale - z/scale there, 0 below and 1 above."""
        z, scale = ctx.saved_tensors
        passed, total = torch.empty_like(z), torch.zeros((), dtype=torch.float64, device=z.device)
        for part, given, incoming in zip(_pieces(passed), _pieces(z), _pieces(grad), strict=True):
            wide = given.to(grad.dtype, copy=True)
            steps = _steps(wide.clone(), scale, ctx.levels)
            inside = (steps >= 0) & (steps <= ctx.levels)
            through = incoming * inside
            part.copy_(through)
            # sum of grad (k/L - z/scale) inside and of grad above
            share = steps.div_(ctx.levels).clamp_(0, 1).mul_(incoming)
            total += share.sum() - wide.mul_(through).sum() / scale
        return passed, total.to(scale.dtype).view_as(scale), None


def _steps(z: Tensor, scale: Tensor, levels: int) -> Tensor:
    """floor(z levels / scale + 1/2), in place."""
    return z.mul_(levels).div_(scale).add_(0.5).floor_()


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    """x cut along its first axis."""
    return x.split(max(PIECE * len(x) // max(x.numel(), 1), 1)) if x.dim() else (x,)
