"""One step of Diehl and Cook's network in torch: the equations, once, and what the compiled kernel is held to."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from spikeloom.core.stream import stream
from spikeloom.plasticity import diehl_cook
from spikeloom.plasticity.circuit import Circuit, Population
from spikeloom.plasticity.weights import normalise

State = dict[str, Tensor]
NEVER = -(2**30)  # steps


def integrate(c: Circuit, cell: Population, state: State, kind: str, theta: Tensor | float) -> Tensor:
    """Move the cells `kind` ("e" or "i") one step by forward Euler, as Brian 1 does; which fired, bool `[neurons]`.

    A cell that fired at step t is held at its reset until t + refractory / dt, when it moves again.
    """
    v, ge, gi = (state[f"{name}_{kind}"] for name in ("v", "ge", "gi"))
    hold = (state[f"hold_{kind}"] - 1).clamp(min=0)
    leak = (cell.rest - v) + ge * (0 - v) + gi * (cell.inhibited - v)
    v = torch.where(hold > 0, cell.reset, v + c.dt / cell.tau * leak)
    fired = (hold == 0) & (v > theta + cell.level)
    state[f"v_{kind}"] = torch.where(fired, cell.reset, v)
    state[f"hold_{kind}"] = torch.where(fired, float(c.held(cell)), hold)
    state[f"ge_{kind}"], state[f"gi_{kind}"] = ge * c.kept(c.tau_e), gi * c.kept(c.tau_i)
    return fired


def deliver(state: State, flying: list[list[int]]) -> Tensor:
    """Add to the excitatory cells what arrives now; at which synapses, bool `[inputs, neurons]`.

    flying[d]: inputs that fired d steps ago.
    """
    ages, who = torch.tensor([(age, i) for age, fired in enumerate(flying) for i in fired], dtype=torch.long).view(-1, 2).T
    here = state["delays"][who] == ages[:, None]
    # one after the other, the youngest first: in another order rounding would differ
    brought = torch.where(here, state["weights"][who], 0.0)
    state["ge_e"] = torch.cat([state["ge_e"][None], brought]).cumsum(0)[-1]
    return torch.zeros_like(state["delays"]).index_add_(0, who, here.to(torch.uint8)) > 0


def step(
    c: Circuit, state: State, traces: diehl_cook.Traces, flying: list[list[int]], plastic: bool
) -> tuple[Tensor, Tensor, diehl_cook.Traces]:
    """One step: all quantities move by their old values; then inputs that arrive, inhibition, excitation and plasticity act.

    Returns which excitatory and which inhibitory cells fired, and the traces.
    """
    if plastic:
        state["theta"] = state["theta"] * c.kept(c.tau_theta)
    fired = integrate(c, c.excitatory, state, "e", state["theta"])
    back = integrate(c, c.inhibitory, state, "i", 0.0)
    arrived = deliver(state, flying)
    # every inhibitory cell reaches all excitatory ones but its own
    state["gi_e"] = state["gi_e"] + c.to_excitatory * (back.sum() - back.double())
    state["ge_i"] = torch.where(fired, state["ge_i"] + c.to_inhibitory, state["ge_i"])
    if plastic:
        state["theta"] = torch.where(fired, state["theta"] + c.theta_plus, state["theta"])
        state["weights"], traces = diehl_cook.update(state["weights"], traces, arrived, fired, c.dt, c.rule)
    return fired, back, traces


def present(c: Circuit, state: State, images: Tensor, keys: Tensor, plastic: bool) -> tuple[Tensor, Tensor]:
    """`Network.learn` and `Network.respond` step by step; keys: where the random numbers of each image begin, uint64 `[images]`."""
    counts, activity = [], []
    for image, key in zip(images, keys.tolist(), strict=True):
        run = _Run(c, state if plastic else dict(state), plastic)
        counts.append(run.present(image, key))
        activity.append(run.activity)
        if plastic:
            state["last"] = (state["last"] - run.clock).clamp(min=NEVER)
    return torch.stack(counts).int(), torch.tensor(activity)


def watch(c: Circuit, state: State, image: Tensor, key: int) -> dict[str, list[list[float]]]:
    """Every spike of the first showing of an image, without plasticity: lists of `[ms, neuron]` by population."""
    run = _Run(c, dict(state), False)
    for draw in fires(c, image, key, 0):
        run.step(draw.nonzero()[0].tolist())
    return {name: [[step * c.dt, neuron] for step, neuron in events] for name, events in run.events.items()}


class _Run:
    """One image, shown until it has brought spikes enough, with the rests between and, with plasticity, after."""

    def __init__(self, c: Circuit, state: State, plastic: bool) -> None:
        self.c, self.state, self.plastic = c, state, plastic
        self.clock, self.flying, self.shown = 0, [[] for _ in range(c.slots)], 0
        self.events: dict[str, list[list[int]]] = {"input": [], "excitatory": [], "inhibitory": []}
        ages = decays(math.exp(-c.dt / c.rule.tau_pre))
        since = -1 - (state["last"][:, None] + state["delays"].int())  # steps from the last arrival to the one before the first step
        self.traces = diehl_cook.Traces(ages[since.clamp(max=len(ages) - 1).long()], state["post1"], state["post2"])

    @property
    def activity(self) -> list[int]:
        return [*map(len, self.events.values()), self.shown]

    def present(self, image: Tensor, key: int) -> Tensor:
        for attempt in range(self.c.attempts):
            if self.plastic:
                self.state["weights"] = normalise(self.state["weights"], self.c.total)
            counts = torch.stack([self.step(draw.nonzero()[0].tolist()) for draw in fires(self.c, image, key, attempt)]).sum(0)
            self.shown += 1
            enough = counts.sum() >= self.c.least or attempt + 1 == self.c.attempts
            if self.plastic or not enough:
                for _ in range(self.c.steps[1]):
                    self.step([])
            if enough:
                break
        return counts

    def step(self, spikes: list[int]) -> Tensor:
        self.flying = [spikes, *self.flying[:-1]]
        fired, back, self.traces = step(self.c, self.state, self.traces, self.flying, self.plastic)
        if self.plastic:
            self.state["post1"], self.state["post2"] = self.traces[1:]
            self.state["last"][spikes] = self.clock
        populations = spikes, *(cells.nonzero()[:, 0].tolist() for cells in (fired, back))
        for events, cells in zip(self.events.values(), populations, strict=True):
            events += [[self.clock, cell] for cell in cells]
        self.clock += 1
        return fired.int()


def fires(c: Circuit, image: Tensor, key: int, attempt: int) -> np.ndarray:
    """Which inputs fire, bool `[steps, inputs]`: 53 random bits of each step and pixel against the chance of a spike."""
    chance = image.double().numpy() / 8.0 * (c.intensity + attempt) * c.dt / 1000.0
    own = int(stream(key ^ attempt, 1)[0])
    draws = stream(own, c.steps[0] * c.inputs).reshape(-1, c.inputs) >> np.uint64(11)
    return draws < np.minimum(chance * 2.0**53, 2.0**53).astype(np.uint64)


@cache
def decays(kept: float) -> Tensor:
    """A trace after 0, 1, 2 ... steps by repeated multiplication, float64, until it is below 1e-300."""
    values = [1.0]
    while values[-1] > 1e-300:
        values.append(values[-1] * kept)
    return torch.tensor(values, dtype=torch.float64)
