import torch
from torch import Tensor

from spikeloom.nn.encoders.base import Encoder

ROUNDING = 2.0**-22  # four times the relative error of a float32


class Rate(Encoder):
    """Evenly spaced spikes at rate x: step t emits floor((t + 1) x) - floor(t x), so the first T steps hold floor(T x), for every T.

    A product that lies below a whole number by no more than the rounding of x to float32 counts as that number: ten steps of 0.7,
    which float32 holds as 0.69999999, hold 7 spikes. This is exact for T up to 4 million. Raises ShapeError when x leaves [0, 1].
    """

    domain = "raw"
    spikes = True

    def forward(self, x: Tensor, steps: int) -> Tensor:
        self.check_raw(x)
        clock = torch.arange(steps + 1, device=x.device, dtype=torch.float64).view(-1, *[1] * x.dim())
        return (clock * (x.double() * (1 + ROUNDING))).floor().diff(dim=0).to(x.dtype)
