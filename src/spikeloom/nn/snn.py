"""The shell around an ordinary torch network: the only place that sets the number of time steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from operator import is_not

import torch
from torch import Tensor, nn

from spikeloom.core.errors import ParameterError, ShapeError, SpikeloomError, refusal
from spikeloom.core.params import Choice, Count
from spikeloom.core.temporal import Carried, Temporal, carrying
from spikeloom.engine import events
from spikeloom.nn import again, encoders, fuse, sparse, still
from spikeloom.nn.encoders import Encoder
from spikeloom.nn.memory import packed_spikes


class SNN(nn.Module):
    """A spiking network: `net` is any torch module whose batch axis carries time-major T*B.

    Args:
        net: the network; its modules that unfold time learn T from here.
        steps: T.
        encoder: `"direct"`, `"bernoulli"`, `"latency"`, `"rate"`, `"first_spike"`, an `Encoder`, or None for input `[T, B, ...]`.
        memory: `"packed"` keeps spikes and their counts up to 15, which the layers after a neuron save for the backward pass, in 1, 2 or 4
            bits each instead of 32; the gradients are the same bit for bit. `"plain"` keeps them as they are.
        fusion: `"norms"` lets a neuron apply the norm before it in its own kernel where the network can be traced and no hook looks
            between them (same function, rounded differently); `"none"` keeps them apart.
        engine: `"sparse"` lets convolutions and linear layers that read spikes work by events where they can: no work for what is silent,
            forward and in the weights' gradient, none in the input's gradient where the neuron before has a closed surrogate window, and
            bits instead of floats kept for it. `"auto"` does so where it is estimated to be quicker, from the density of the spikes and the
            share of open windows; what it leaves to torch it looks at again after 16 updates of the weights. `"dense"` leaves all to
            torch. Same function and gradients, rounded differently; `ways()` says what was done.
        prelude: steps that run before the T whose outputs are returned; for neurons that calibrate themselves first.

    Call: x `[B, ...]` (with an encoder) or `[prelude + T, B, ...]` (without) gives the output of every step, `[T, B, classes]`.
    """

    def __init__(
        self, net: nn.Module, steps: int, encoder: Encoder | str | None = "direct", *, memory: str = "plain", fusion: str = "norms",
        engine: str = "dense", prelude: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.memory = Choice(("plain", "packed")).check("SNN.memory", memory)
        self.fusion = Choice(("norms", "none")).check("SNN.fusion", fusion)
        self.engine = Choice(("dense", "sparse", "auto")).check("SNN.engine", engine)
        self._seen: _Seen | None = None
        self.net = net
        self.encoder = encoders.build(encoder)
        self.prelude = Count(0, low=0, doc="steps before those whose outputs are returned").check("SNN.prelude", prelude)
        self.steps = steps

    @property
    def steps(self) -> int:
        """T, the steps that are returned; assigning it tells every module that unfolds time."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ParameterError(refusal("SNN.steps", steps, "a whole number of at least 1"))
        self._steps = steps
        self._tell()

    def _tell(self) -> None:
        for module in self.net.modules():
            if isinstance(module, Temporal) and module.steps != self.prelude + self._steps:
                module.steps = self.prelude + self._steps

    def encode(self, x: Tensor) -> Tensor:
        """The input of the network, folded: `[(prelude + T)*B, ...]`."""
        steps = self.prelude + self.steps
        if self.encoder is not None:
            x = self.encoder(x, steps)
        elif x.dim() < 2 or x.shape[0] != steps:
            allowed = f"[prelude + T, B, ...] with prelude + T = {steps}" if self.prelude else f"[T, B, ...] with T = {steps}"
            raise ShapeError(refusal("SNN input", list(x.shape), allowed, "or give SNN an encoder"))
        return x.flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Output of every step, `[T, B, classes]`."""
        self._tell()  # a neuron may have been put in later, or the net may sit in another SNN with another T
        folded = self.encode(x)
        if torch.compiler.is_compiling():
            y = self.net(folded)
        else:
            again.leave_failed()
            seen = self._look()
            inside = partial(self._inside, seen, seen.looks.now(self.engine), self.prelude + self.steps)
            with packed_spikes() if self.memory == "packed" else nullcontext(), inside():
                y = self.net(folded)
            again.in_backward(y, inside)
        y = y.unflatten(0, (self.prelude + self.steps, -1))
        return y[self.prelude :] if self.prelude else y

    def pairs(self) -> tuple[list[fuse.Pair], str]:
        """The norms that neurons apply in their own kernels, and why there are none where that is so."""
        return ([], "fusion='none'") if self.fusion == "none" else (self._look().pairs, self._look().reason)

    def ways(self) -> dict[str, events.Taken]:
        """For each convolution and linear layer that the network's graph calls: how its last call computed the output and the weights'
        gradient (`"list"`, `"depthwise"`: by events; `"dense"`), events per input (None: not measured), why not by events, how its input's
        gradient is computed (`"list"`: only where surrogate windows are open), and the share of open windows (None: not known)."""
        found = self._look().spiking
        if self.engine == "dense":
            return {reader.name: events.Taken("dense", "dense", None, "engine='dense'") for reader in found}
        return {reader.name: reader.way for reader in found}

    @contextmanager
    def _inside(self, seen: _Seen, spiking: list[sparse.Reader], steps: int) -> Iterator[None]:
        """What holds while the network runs."""
        once = still.held(seen.readers, steps) if self.encoder is not None and self.encoder.still else nullcontext()
        with once, sparse.swapped(spiking, self.engine), fuse.fused(seen.pairs):
            yield

    def _look(self) -> _Seen:
        """What the network's graph allows, looked up again when its modules or its mode have changed."""
        modules, known = list(self.net.modules()), self._seen
        same = known is not None and known.training == self.net.training and len(known.modules) == len(modules)
        if known is not None and same and not any(map(is_not, known.modules, modules)):
            return known
        graph, reason = fuse.traced(self.net)
        found = fuse.pairs(self.net, graph) if self.fusion == "norms" else []
        given = sparse.Counts(1) if self.encoder is not None and self.encoder.spikes else None
        spiking = sparse.readers(self.net, graph, given)
        self._seen = _Seen(modules, self.net.training, found, still.readers(self.net, graph), spiking, sparse.Looks(spiking), reason)
        return self._seen

    def stream(self) -> Stream:
        """A run step by step: `y_t = stream(x_t)`; the stream owns the state."""
        return Stream(self)


@dataclass(frozen=True)
class _Seen:
    modules: list[nn.Module]
    training: bool
    pairs: list[fuse.Pair]
    readers: list[nn.Module]
    spiking: list[sparse.Reader]
    looks: sparse.Looks
    reason: str


class Stream:
    """One run of an SNN, step by step. Input `[B, ...]` is one step, as the network sees it (encoded); so is the output.

    Feeding the T encoded steps gives bit-equal outputs to the sequence call, in evaluation mode. It yields every step, those of a
    prelude too.
    """

    def __init__(self, snn: SNN) -> None:
        self.snn = snn
        self.states: Carried = {}

    def __call__(self, x: Tensor) -> Tensor:
        temporal = [name for name, m in self.snn.net.named_modules() if isinstance(m, Temporal) and m.needs_all_steps]
        if temporal:
            raise SpikeloomError(f"stream: {temporal[0]} takes its statistics over all steps while training; call snn.eval() first")
        spiking = sparse.swapped(self.snn._look().spiking, self.snn.engine)
        with spiking, fuse.fused(self.snn.pairs()[0]), carrying(self.states):  # in this order: the search for pairs may call modules
            return self.snn.net(x)
