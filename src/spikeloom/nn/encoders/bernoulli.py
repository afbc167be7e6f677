import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.nn.encoders.base import Encoder


class Bernoulli(Encoder):
    """An independent spike at each step with probability x: `[x > U(0, 1)]`, the discrete Poisson rate code.

    Randomness comes from torch's global generator. Raises ShapeError when x leaves [0, 1].
    """

    domain = "raw"

    def forward(self, x: Tensor, steps: int) -> Tensor:
        if x.numel() and (x.min() < 0 or x.max() > 1):
            given = f"values from {x.min().item():.3g} to {x.max().item():.3g}"
            raise ShapeError(refusal("Bernoulli input", given, "probabilities in [0, 1]", "do not standardise the images"))
        return torch.gt(x, torch.rand(steps, *x.shape, device=x.device, dtype=x.dtype)).to(x.dtype)
