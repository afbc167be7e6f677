"""Which way a call goes: the one that cost.py estimates to be quickest."""

from __future__ import annotations

import math
from typing import NamedTuple

from spikeloom.engine.events.cost import LAY, LAY_CALL, LAYER_CALL, LAYER_MARGIN, OURS, PACK, PACK_CALL, Case, Way


class Choice(NamedTuple):
    """How a call is computed, the density that decided, and a sentence."""

    way: Way
    density: float
    reason: str


def way(case: Case, events: int, fused: bool = False) -> Way:
    """The quickest. events: bits that are set. fused: within a neuron's kernel, which a dense current only reads."""
    if case.depthwise:
        return "depthwise"
    if events <= (case.most_fused if fused else case.most):
        return "list"
    return case.otherwise_fused if fused else case.otherwise


def training(
    case: Case, events: int, adds: int, stride: tuple[int, int], pieces: tuple[int, int] | None, packed: bool = False,
    pulled: Way = "dense",
) -> tuple[Way, Way, Way, str]:  # fmt: skip
    """The quickest ways of a layer's output and of its weights' and input's gradients, from an input that is dense, and why not by events.

    adds: the sum of the input; pieces: of the gradient by events, and their block, None where none is wanted or there is none; packed:
    whether the input's bits are there; pulled: the way of the input's gradient in a layer that is not dense throughout.
    """
    dense, learns = case.convolved(), case.pulled() if pieces is not None else 0.0
    listed = case.listed(events) + OURS.rest * (LAY_CALL + case.weights * LAY)
    forward: Way = "dense" if case.depthwise or listed > dense else "list"
    gathered = math.inf if pieces is None else case.gathered(adds, stride, *pieces)
    unpacked = case.unpacked() if forward == "list" and pieces is not None else 0.0
    backward: Way = "list" if gathered < learns + unpacked else "dense"
    ours = OURS.rest * (LAYER_CALL + (0.0 if packed else PACK_CALL + case.elements * PACK)) + (listed if forward == "list" else dense)
    ours += 0.0 if pieces is None else gathered if backward == "list" else learns + unpacked
    ours -= case.drawn() - case.drawn_by_digits() if pulled == "tile" else 0.0
    if ours <= LAYER_MARGIN * (dense + learns):
        return forward, backward, pulled, "" if forward == "list" else "its output is quicker dense"
    share = ours / (dense + learns)
    return "dense", "dense", "dense", f"events would take about {share:.2g} of the dense time, packing and laying out weights counted in"


def choose(case: Case, events: int) -> Choice:
    """The quickest way, and why."""
    found, density = way(case, events), case.density(events)
    ratio = case.dense() / max(1.0, case.listed(events))
    if found == "depthwise":
        why = "depthwise: spikes mask the weights of 64 channels at a time, at any density"
    elif found == "list":
        why = f"{density:.1%} of the inputs are events: about {ratio:.1f} times faster than dense"
    elif found == "tile":
        gain = case.dense() / case.tiled()
        why = f"{density:.1%} of the inputs are events, too many for lists: tiles, about {gain:.1f} times faster than dense float32"
    elif found == "table":
        gain = case.dense() / case.tabled()
        why = f"{case.inputs} input channels per group: the sums of rows of taps are looked up, about {gain:.1f} times faster than dense"
    elif case.most < 0:
        why = f"{case.inputs} input and {case.outputs} output channels per group are too few to gain from lists"
    else:
        why = f"{density:.1%} of the inputs are events: lists would take about {1 / ratio:.1f} times as long"
    return Choice(found, density, why)
