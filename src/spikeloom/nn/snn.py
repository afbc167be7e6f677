"""The shell around an ordinary torch network: the only place that sets the number of time steps."""

from __future__ import annotations

from torch import Tensor, nn

from spikeloom.core.errors import ParameterError, ShapeError, SpikeloomError, refusal
from spikeloom.neurons import Carried, Neuron, carrying
from spikeloom.nn import encoders
from spikeloom.nn.encoders import Encoder
from spikeloom.nn.norms.base import TemporalNorm


class SNN(nn.Module):
    """A spiking network: `net` is any torch module whose batch axis carries time-major T*B.

    Args:
        net: the network; its neurons and temporal norms learn T from here.
        steps: T.
        encoder: `"direct"`, `"bernoulli"`, `"latency"`, an `Encoder`, or None for input `[T, B, ...]`.

    Call: x `[B, ...]` (with an encoder) or `[T, B, ...]` (without) gives the output of every step, `[T, B, classes]`.
    """

    def __init__(self, net: nn.Module, steps: int, encoder: Encoder | str | None = "direct") -> None:
        super().__init__()
        self.net = net
        self.encoder = encoders.build(encoder)
        self.steps = steps

    @property
    def steps(self) -> int:
        """T; assigning it tells every neuron and temporal norm."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ParameterError(refusal("SNN.steps", steps, "a whole number of at least 1"))
        self._steps = steps
        self._tell()

    def _tell(self) -> None:
        for module in self.net.modules():
            if isinstance(module, Neuron | TemporalNorm) and module.steps != self._steps:
                module.steps = self._steps

    def encode(self, x: Tensor) -> Tensor:
        """The input of the network, folded: `[T*B, ...]`."""
        if self.encoder is not None:
            x = self.encoder(x, self.steps)
        elif x.dim() < 2 or x.shape[0] != self.steps:
            raise ShapeError(refusal("SNN input", list(x.shape), f"[T, B, ...] with T = {self.steps}", "or give SNN an encoder"))
        return x.flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Output of every step, `[T, B, classes]`."""
        self._tell()  # a neuron may have been put in later, or the net may sit in another SNN with another T
        return self.net(self.encode(x)).unflatten(0, (self.steps, -1))

    def stream(self) -> Stream:
        """A run step by step: `y_t = stream(x_t)`; the stream owns the state."""
        return Stream(self)


class Stream:
    """One run of an SNN, step by step. Input `[B, ...]` is one step, as the network sees it (encoded); so is the output.

    Feeding the T encoded steps gives bit-equal outputs to the sequence call, in evaluation mode.
    """

    def __init__(self, snn: SNN) -> None:
        self.snn = snn
        self.states: Carried = {}

    def __call__(self, x: Tensor) -> Tensor:
        temporal = [name for name, m in self.snn.net.named_modules() if isinstance(m, TemporalNorm) and m.training]
        if temporal:
            raise SpikeloomError(f"stream: {temporal[0]} takes its statistics over all steps while training; call snn.eval() first")
        with carrying(self.states):
            return self.snn.net(x)
