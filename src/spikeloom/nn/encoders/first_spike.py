import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice, Param
from spikeloom.nn.encoders.base import Encoder

WINDOW = Param(1.0, low=0, low_open=True, doc="the time of the darkest spikes; that of the brightest is 0")


class FirstSpike(Encoder):
    """One spike time per value, for layers of `spikeloom.timing`: t = (1 - x) window, the brighter the earlier; `[1, B, ...]`.

    dark: values of 0 never spike, which is infinity (`"silent"`), or spike at the end of the window (`"latest"`).

    Times need no steps: raises ParameterError unless the SNN's steps are 1, and ShapeError when x leaves [0, 1].
    """

    domain = "raw"

    def __init__(self, window: float = 1.0, dark: str = "silent") -> None:
        super().__init__()
        self.window = float(WINDOW.check("FirstSpike.window", window))
        self.dark = Choice(("silent", "latest"), "when values of 0 spike").check("FirstSpike.dark", dark)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        if steps != 1:
            raise ParameterError(refusal("FirstSpike steps", steps, "1", "times need no grid: SNN(net, steps=1, encoder='first_spike')"))
        self.check_raw(x)
        times = (1 - x) * self.window
        return (times.masked_fill(x == 0, torch.inf) if self.dark == "silent" else times).unsqueeze(0)
