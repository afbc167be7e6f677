"""Images a second while Diehl and Cook's network learns: ours and Brian 2's, on the same input spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.bench.brian import Brian, Learner
from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, head, rows, short
from spikeloom.bench.rivals import Unavailable
from spikeloom.bench.timing import Run
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.core.params import Choice
from spikeloom.plasticity import Circuit, Network
from spikeloom.plasticity.reference import fires

OURS, TARGETS = "spikeloom", ("cython", "numpy")
LIT, BRIGHT = 0.19, 175  # as in MNIST: the share of pixels above 0, and their mean
TOLERANCE = 1e-9  # of weights and thresholds, once the counts are equal


@dataclass(frozen=True)
class Options:
    """neurons: excitatory cells; images: in one call of ours, theirs takes one; targets: what Brian generates, "cython" or "numpy"."""

    neurons: int = 100
    images: int = 100
    targets: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        for name in ("neurons", "images"):
            if getattr(self, name) < 1:
                raise ParameterError(refusal(f"bench --{name}", getattr(self, name), "at least 1"))
        for target in self.targets:
            Choice(TARGETS).check("bench --targets", target)


def pixels(count: int, inputs: int) -> Tensor:
    """Random images, uint8 `[count, inputs]`, that bring as many spikes as digits do."""
    g = torch.Generator().manual_seed(0)
    lit = torch.rand(count, inputs, generator=g) < LIT
    return (lit * torch.randint(2 * BRIGHT - 255, 256, lit.shape, generator=g)).to(torch.uint8)


def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: a row of `results` for each contender, with images per second. Every image is shown once, whatever it brings."""
    with place.settled():
        circuit = replace(Circuit(), neurons=options.neurons, attempts=1)
        images, field = pixels(options.images, circuit.inputs), Field()
        net = Network(circuit, backend="cpp")
        field.judge(Verdict(OURS, True, "held to its equations by the tests"), told)
        runs: dict[str, Run] = {OURS: lambda: net.learn(images)}
        sizes = {OURS: options.images}
        for target in options.targets:
            impl = f"{Brian.impl}-{target}"
            made = _rival(impl, target, circuit, images[0], field, told)
            if made is not None:
                runs[impl], sizes[impl] = made, 1
        results = rows(field.race(runs, place, "learning"), "learning", place)
        for row in results:
            row.pop("vs_copy")
            row["images_per_second"] = sizes[row["impl"]] / row["median_ms"] * 1e3
        for row in results:
            row["ratio"] = results[0]["images_per_second"] / row["images_per_second"]
        return head("stdp", asdict(options), place, field) | {"results": results}


def _rival(impl: str, target: str, circuit: Circuit, image: Tensor, field: Field, told: Callable[[str], object]) -> Run | None:
    rival = Brian()
    net = Network(circuit, backend="cpp")
    fired = fires(circuit, image, int(net.keys(image[None], 0, 0)[0]), 0)
    try:
        version, reason = rival.available()
        if version is None:
            raise Unavailable(reason)
        learner = rival.learner(net, target)
        verdict = check(impl, learner, net, image, fired)
    except Exception as why:  # whatever foreign code raises
        field.leave_out(impl, str(why) if isinstance(why, Unavailable) else f"{type(why).__name__}: {why}", told)
        return None
    field.versions[rival.impl] = version
    return (lambda: learner.learn(fired)) if field.judge(verdict, told) else None


def check(impl: str, learner: Learner, net: Network, image: Tensor, fired: np.ndarray) -> Verdict:
    """One image: the same spikes of every cell, and the same weights and thresholds after it."""
    theirs, ours = learner.learn(fired), net.learn(image[None]).counts[0].numpy()
    apart = learner.difference(net.state)
    passed = bool((theirs == ours).all()) and apart <= TOLERANCE
    return Verdict(impl, passed, f"{theirs.sum()} spikes where we have {ours.sum()}, weights and thresholds within {apart:.1g}")


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown."""
    shown: list[list[object]] = [
        [row["impl"], short(row["images_per_second"]), short(row["ratio"]), row["rounds"]] for row in record["results"]
    ]
    title = f"Diehl and Cook's network, {record['options']['neurons']} neurons, {record['threads']} thread(s): learning"
    return [(title, ["impl", "images/s", "ours over it", "rounds"], shown)]
