"""Contracts on what a neuron computes: worked numbers, degenerate cases, conserved charge, the threshold itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from spikeloom import neurons
from spikeloom.neurons import Neuron
from spikeloom.testing.drive import choices, drive, near, noise, precision, same


def hand_trace(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """The class's `hand_trace`, if it gives one: spikes exact, membranes to 1e-6 in float32 and 1e-12 in float64."""
    trace = neuron_class.hand_trace
    if trace is None:
        return
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        with precision(dtype):
            neuron = neuron_class(**trace["options"])
            x = torch.tensor(trace["x"]).view(-1, 1)
            spikes = torch.tensor(trace["spikes"], dtype=dtype).view(-1, 1)
            membrane = torch.tensor(trace["membrane"]).view(len(x), -1)
            seen = neuron.trace(x)
            same(neuron.run(x)[0], spikes, f"spikes of the hand trace in {dtype}")
            same(seen["spikes"], spikes, f"spikes of the hand trace in {dtype}, reference loop")
            near(seen["membrane"].view(len(x), -1), membrane, f"membranes of the hand trace in {dtype}", absolute=tolerance)


def reductions(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """Every entry of `reduces_to`: spikes equal and input gradients to 1e-12 (float64), for both resets."""
    for own, other, theirs in neuron_class.reduces_to:
        assert other in neurons.known, f"reduces_to names {other!r}, which is not among {sorted(neurons.known)}"
        for reset in choices(neuron_class, "reset", "zero", "subtract"):
            with precision(torch.float64):
                one = neuron_class(**{"reset": reset, **own})
                two = neurons.known[other](**{"reset": reset, **theirs})
                for shape in ((7, 50), (6, 10, 5), (5, 4, 3, 2, 2)):
                    x = drive(one, *shape)
                    pulls = []
                    for neuron in (one, two):
                        leaf = x.clone().requires_grad_()
                        spikes = neuron.run(leaf)[0]
                        pulls.append((spikes.detach(), torch.autograd.grad((spikes * noise(*shape, seed=2)).sum(), leaf)[0]))
                    what = f"with {own}, reset={reset!r}, as {other} with {theirs} on {list(shape)}"
                    same(pulls[0][0], pulls[1][0], f"spikes {what}")
                    near(pulls[0][1], pulls[1][1], f"input gradients {what}", relative=1e-12, absolute=1e-12)


def charge_conservation(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """With raw drive, decay 1 and reset "subtract" no charge is lost: sum x = sum threshold s + v[T] - v[0], to 1e-9 at every level.

    The membranes must be the first states, in the order in which `step` fires them. A class without a parameter `decay` must not leak.
    """
    if not choices(neuron_class, "reset", "subtract"):
        return
    raw = {"drive": "raw"} if choices(neuron_class, "drive", "raw") else {}
    with precision(torch.float64):
        neuron = neuron_class(**{**options, **raw, "reset": "subtract"})
        if "decay" in neuron_class.params:
            neuron.decay.data.fill_(1.0)
        x = drive(neuron, 50, 4, 3)
        with torch.no_grad():
            seen, state = neuron.trace(x), neuron.run(x)[1]
            start = neuron.initial(x[0])
    fired = ((seen["membrane"] - seen["distance"]) * (seen["distance"] > 0)).sum(0)
    assert len(fired) <= len(state), f"{len(fired)} thresholds fire, and there are {len(state)} states"
    for level in range(len(fired)):
        near(
            fired[level] + state[level] - start[level], x.sum(0), absolute=1e-9,
            what=f'sum x = sum threshold s + v[T] - v[0] at level {level + 1}, reset="subtract", decay 1',
        )  # fmt: skip


def threshold_hits(neuron_class: type[Neuron], options: Mapping[str, Any]) -> None:
    """fires="above" and "at_or_above" differ exactly where a membrane equals its threshold, and nowhere else."""
    if len(choices(neuron_class, "fires", "above", "at_or_above")) < 2:
        return
    above, at = (neuron_class(**{**options, "fires": fires}) for fires in ("above", "at_or_above"))
    x = torch.arange(1, 65).view(1, 1, 64) / 16
    if "threshold" in neuron_class.params:
        # channel c's threshold is the very membrane that its input gives
        for neuron in (above, at):
            first = neuron.trace(x)["membrane"][0, 0, 0]
            neuron.threshold.data = torch.where(torch.arange(64) % 2 == 0, first, neuron.threshold.detach())
        assert (above.trace(x)["distance"] == 0).any(), "a threshold equal to the first membrane is never hit exactly"
    hit = (above.trace(x)["distance"] == 0).any(1)
    with torch.no_grad():
        differ = above.run(x)[0] != at.run(x)[0]
    same(differ, hit, 'places where fires="above" and "at_or_above" differ, against those where the membrane equals the threshold')
