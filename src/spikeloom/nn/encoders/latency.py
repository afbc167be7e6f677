import torch
from torch import Tensor

from spikeloom.nn.encoders.base import Encoder


class Latency(Encoder):
    """One spike per value, the brighter the earlier: at step round((1 - x)(T - 1)); values of 0 stay silent.

    Raises ShapeError when x leaves [0, 1].
    """

    domain = "raw"
    spikes = True

    def forward(self, x: Tensor, steps: int) -> Tensor:
        self.check_raw(x)
        when = ((1 - x) * (steps - 1)).round()
        clock = torch.arange(steps, device=x.device, dtype=x.dtype).view(-1, *[1] * x.dim())
        return ((when == clock) & (x > 0)).to(x.dtype)
