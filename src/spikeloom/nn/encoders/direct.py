from torch import Tensor

from spikeloom.nn.encoders.base import Encoder


class Direct(Encoder):
    """The same analog frame at every step; the first layer's neurons make the spikes."""

    still = True

    def forward(self, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)
