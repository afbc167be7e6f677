import torch
from torch import Tensor

from spikeloom.nn.encoders.base import Encoder


class Bernoulli(Encoder):
    """An independent spike at each step with probability x: `[x > U(0, 1)]`, the discrete Poisson rate code.

    Randomness comes from torch's global generator. Raises ShapeError when x leaves [0, 1].
    """

    domain = "raw"
    spikes = True

    def forward(self, x: Tensor, steps: int) -> Tensor:
        self.check_raw(x)
        return torch.gt(x, torch.rand(steps, *x.shape, device=x.device, dtype=x.dtype)).to(x.dtype)
