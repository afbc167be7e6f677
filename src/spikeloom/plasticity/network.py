"""Diehl and Cook's network: its state, what it learns from images and what it answers to them."""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import astuple
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeloom import engine
from spikeloom.core.errors import ShapeError, refusal
from spikeloom.core.params import Choice
from spikeloom.core.stream import key, stream, uniform
from spikeloom.engine import cache as compiled
from spikeloom.plasticity import reference
from spikeloom.plasticity.circuit import Circuit, Population

CELLS = ("v", "ge", "gi", "hold")
ORDER = (*(f"{name}_e" for name in CELLS), *(f"{name}_i" for name in CELLS), "theta", "post1", "post2", "last")
TEST, NAMING, WEIGHTS, DELAYS = -1, -2, -3, -4  # series of random numbers beside those of the passes
BACKEND = Choice(("auto", "cpp", "reference"), "the compiled kernel where there is a compiler, or the loop in torch, which gives the same")


class Answers(NamedTuple):
    """counts: spikes of the excitatory cells while the image was shown the last time, int32 `[images, neurons]`.

    activity: spikes of inputs, excitatory and inhibitory cells, and how often the image was shown, int64 `[images, 4]`.
    """

    counts: Tensor
    activity: Tensor


class Network:
    """The network of `circuit`, its weights and delays drawn from `seed`.

    state: everything that changes and the delays, tensors by name; what is loaded into it goes on bit by bit.
    """

    def __init__(self, circuit: Circuit | None = None, seed: int = 0, backend: str = "auto") -> None:
        self.circuit, self.seed, self.backend = circuit or Circuit(), seed, BACKEND.check("Network backend", backend)
        self.state = start(self.circuit, seed)

    def learn(self, images: Tensor, first: int = 0, series: int = 0) -> Answers:
        """Show uint8 `[images, inputs]` in order, with plasticity, and answer. first: the place of the first image in the training set,
        series: the number of the pass; both choose the random numbers."""
        return self._present(images, first, series, True)

    def respond(self, images: Tensor, first: int = 0, series: int = TEST) -> Answers:
        """Answer to uint8 `[images, inputs]` without plasticity, each from cells at rest; the state stays. Threads share the images."""
        return self._present(images, first, series, False)

    def watch(self, image: Tensor, index: int = 0, series: int = TEST) -> dict[str, list[list[float]]]:
        """Every spike while image `index`, uint8 `[inputs]`, is shown once: lists of `[ms, cell]` for input, excitatory, inhibitory."""
        keys = self.keys(image[None], index, series)
        return reference.watch(self.circuit, {**self.state, **at_rest(self.circuit)}, image, int(keys[0]))

    def keys(self, images: Tensor, first: int, series: int) -> Tensor:
        """Where the random numbers of images begin, uint64 `[images]`. Raises ShapeError for images of another shape."""
        if images.dtype != torch.uint8 or images.dim() != 2 or images.shape[1] != self.circuit.inputs:
            raise ShapeError(refusal("Network images", [images.dtype, *images.shape], f"uint8 [images, {self.circuit.inputs}]"))
        return torch.from_numpy(stream(key(self.seed, series), first + len(images))[first:])

    def _present(self, images: Tensor, first: int, series: int, plastic: bool) -> Answers:
        c, keys = self.circuit, self.keys(images, first, series)
        state = self.state if plastic else {**self.state, **at_rest(c)}
        run = _kernel(self.backend)
        if run is None:
            return Answers(*reference.present(c, state, images, keys, plastic))
        return Answers(*_compiled(run, c, state, images.contiguous(), keys, plastic))


def start(circuit: Circuit, seed: int) -> dict[str, Tensor]:
    """A fresh state. weights: float64 `[inputs, neurons]`, 0.3 (U + 0.01); delays: uint8 `[inputs, neurons]`, whole steps below `slots`."""
    shape = circuit.inputs, circuit.neurons
    drawn = [torch.from_numpy(uniform(key(seed, part), math.prod(shape))).view(shape) for part in (WEIGHTS, DELAYS)]
    rest = at_rest(circuit)
    return {
        "weights": 0.3 * (drawn[0] + 0.01), "delays": (drawn[1] * circuit.slots).to(torch.uint8),
        "last": torch.full(shape[:1], reference.NEVER, dtype=torch.int32), **rest, "theta": torch.full_like(rest["v_e"], circuit.theta),
        "post1": torch.zeros_like(rest["v_e"]), "post2": torch.zeros_like(rest["v_e"]),
    }  # fmt: skip


def at_rest(circuit: Circuit) -> dict[str, Tensor]:
    """Cells that nothing has reached: `v`, `ge`, `gi` and `hold`, steps until they may fire, of `_e` and `_i`, float64 `[neurons]`."""
    zero = torch.zeros(circuit.neurons, dtype=torch.float64)
    cells = {"e": circuit.excitatory, "i": circuit.inhibitory}
    return {f"{name}_{kind}": zero + (cell.rest if name == "v" else 0) for kind, cell in cells.items() for name in CELLS}


def _compiled(run: Any, c: Circuit, state: dict[str, Tensor], images: Tensor, keys: Tensor, plastic: bool) -> tuple[Tensor, Tensor]:
    counts = torch.empty(len(images), c.neurons, dtype=torch.int32)
    activity = torch.empty(len(images), 4, dtype=torch.int64)
    trace = reference.decays(math.exp(-c.dt / c.rule.tau_pre))
    sizes = torch.tensor([c.inputs, c.neurons, c.slots, *c.steps, c.least, c.attempts, len(trace)])
    order = _by_delay(state["delays"], c.slots)
    tensors = [sizes, _constants(c), state["weights"], *order, trace, images, keys, counts, activity, *(state[name] for name in ORDER)]
    numbers = torch.get_num_threads(), len(images), plastic, *(t.data_ptr() for t in tensors)
    clock = run(struct.pack(f"{len(numbers)}q", *numbers))
    if plastic:  # the clock starts at 0 again
        state["last"].sub_(clock).clamp_(min=reference.NEVER)
    return counts, activity


def _constants(c: Circuit) -> Tensor:
    r = c.rule
    cells = [value for p in (c.excitatory, c.inhibitory) for value in _cell(c, p)]
    rest = (
        c.kept(c.tau_e), c.kept(c.tau_i), c.kept(c.tau_theta), c.theta_plus, c.to_inhibitory, c.to_excitatory, c.total,
        math.exp(-c.dt / r.tau_post1), math.exp(-c.dt / r.tau_post2), r.rate_pre, r.rate_post, r.low, r.high, c.intensity, c.dt,
    )  # fmt: skip
    return torch.tensor([*cells, *rest], dtype=torch.float64)


def _cell(c: Circuit, p: Population) -> tuple[float, ...]:
    rest, reset, level, tau, _, inhibited = astuple(p)
    return rest, reset, level, c.dt / tau, c.held(p), inhibited


def _by_delay(delays: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Neurons of each input in order of their delay, uint16 `[inputs, neurons]`, and where each delay begins, `[inputs, slots + 1]`."""
    counts = torch.nn.functional.one_hot(delays.long(), slots).sum(1)
    begin = torch.nn.functional.pad(counts.cumsum(1), (1, 0))
    return delays.argsort(stable=True, dim=1).to(torch.uint16), begin.to(torch.uint16)


@cache
def _function() -> Any:
    return compiled.function(resources.files(__package__).joinpath("network.cpp").read_text(), "present")


def _kernel(asked: str) -> Any:
    if asked == "reference" or (asked == "auto" and engine.backend() == "reference"):
        return None
    try:
        return _function()
    except compiled.CannotCompile as error:
        if asked == "cpp":
            raise
        warnings.warn(f"the network runs in torch, step by step: {error}", engine.SlowBackend, stacklevel=4)
        return None
