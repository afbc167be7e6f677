"""Layers of ReL-PSP neurons, forward with backward: the fused kernel against a plain vectorised version in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from spikeloom.bench import child
from spikeloom.bench.gate import Verdict
from spikeloom.bench.race import Field, Place, head, rows, short
from spikeloom.bench.timing import Run
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.timing import reference, wiring
from spikeloom.timing.relpsp import relpsp_conv2d_times, relpsp_times

PLAIN, OURS = "torch", "spikeloom"
TOLERANCE, STEEP, GATED = 2e-3, 0.05, 4  # of times and gradients where the slope is above STEEP; images of the gate
Shape = tuple[int, ...]
Layer = Callable[[Tensor, Tensor], Tensor]


def shape_of(text: str) -> Shape:
    """`784-800`: inputs and outputs of a full connection. `16x12x12-32x5`: channels, height, width, outputs and window of a convolution."""
    try:
        before, after = text.split("-")
        numbers = tuple(int(word) for word in (*before.split("x"), *after.split("x")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 5) or min(numbers, default=0) < 1:
        raise ParameterError(refusal("bench --shapes", text, "IN-OUT or CxHxW-OUTxWINDOW", "for instance 784-800 or 16x12x12-32x5"))
    return numbers


@dataclass(frozen=True)
class Options:
    """shapes: of the layers; batch: images; active: share of the inputs that spike."""

    shapes: tuple[str, ...] = ("784-800", "800-10", "1x28x28-16x5", "16x12x12-32x5")
    batch: int = 128
    active: float = 1.0

    def __post_init__(self) -> None:
        for shape in self.shapes:
            shape_of(shape)
        if self.batch < 1:
            raise ParameterError(refusal("bench --batch", self.batch, "at least 1"))
        if not 0 < self.active <= 1:
            raise ParameterError(refusal("bench --active", self.active, "in (0, 1]"))


class Problem:
    """Random times in [0, 1], weights whose neurons nearly all fire, and a random gradient of the output times."""

    def __init__(self, shape: str, batch: int, active: float) -> None:
        sizes, g = shape_of(shape), torch.Generator().manual_seed(0)
        full = len(sizes) == 2
        self.layers: dict[str, Layer] = {
            PLAIN: plain if full else plain_conv2d, OURS: relpsp_times if full else relpsp_conv2d_times,
        }  # fmt: skip
        self.t = torch.rand(batch, *(sizes[:1] if full else sizes[:3]), generator=g)
        self.t[torch.rand(self.t.shape, generator=g) >= active] = math.inf
        weight = (sizes[1], sizes[0]) if full else (sizes[3], sizes[0], sizes[4], sizes[4])
        fan_in = math.prod(weight[1:])
        self.weight = 5 / fan_in / active + torch.randn(weight, generator=g) / fan_in**0.5
        self.t.requires_grad_()
        self.weight.requires_grad_()
        self.grad = torch.randn(self.layers[OURS](self.t.detach(), self.weight.detach()).shape, generator=g)

    def step(self, impl: str) -> Run:
        """Forward and backward of the layer."""
        layer = self.layers[impl]

        def run() -> None:
            out = layer(self.t, self.weight)
            out.backward(self.grad.where(out.isfinite(), 0.0))
            self.t.grad = self.weight.grad = None

        return run


def plain(t: Tensor, weight: Tensor) -> Tensor:
    """The closed form as one writes it in torch: every candidate of every neuron at once, `[B, in, out]`; autograd does the rest."""
    t, order = t.sort(1)
    finite = t.where(t.isfinite(), 0.0).unsqueeze(2)
    w = weight.t()[order] * t.isfinite().unsqueeze(2)  # [B, in, out]
    slope = w.cumsum(1)
    candidate = (1 + (w * finite).cumsum(1)) / slope.where(slope > 0, 1.0)
    following = torch.cat([t[:, 1:], torch.full_like(t[:, :1], math.inf)], 1).unsqueeze(2)
    fits = (slope > 0) & (candidate > t.unsqueeze(2)) & (candidate <= following)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    return candidate.gather(1, first).where(fits.gather(1, first), math.inf).squeeze(1)


def plain_conv2d(t: Tensor, weight: Tensor) -> Tensor:
    """`plain` on every patch."""
    windows = t.unfold(2, weight.shape[2], 1).unfold(3, weight.shape[3], 1).permute(0, 2, 3, 1, 4, 5)
    out = plain(windows.flatten(3).flatten(0, 2), weight.flatten(1))
    return out.view(*windows.shape[:3], -1).permute(0, 3, 1, 2)


def check(impl: str, problem: Problem) -> Verdict:
    """Times and both gradients on a few images against the reference in float64, where a crossing is not too flat."""
    t, weight = problem.t[:GATED].detach(), problem.weight.detach()
    conv = weight.dim() == 4
    wires = wiring.conv2d(t.shape[1], t.shape[2:], weight.shape[2:], (1, 1), (0, 0)) if conv else wiring.full(t.shape[1])  # type: ignore[arg-type]
    flat, rowed = t.flatten(1).double(), weight.flatten(1).double()
    with torch.no_grad():
        exact, slope = reference.forward(flat, rowed, wires, 1.0, math.inf)
    steep = slope > STEEP
    g = problem.grad[:GATED].flatten(2).transpose(1, 2) if conv else problem.grad[:GATED].unsqueeze(1)
    wanted = reference.backward(flat, rowed, wires, 0.0, g.double().where(steep, 0.0), exact, slope, True)
    asked, learned = t.requires_grad_(), weight.requires_grad_()
    out = problem.layers[impl](asked, learned)
    times = out.flatten(2).transpose(1, 2) if conv else out.unsqueeze(1)
    found = torch.autograd.grad(times, (asked, learned), g.where(steep, 0.0))
    worst = (times.double() - exact)[steep].abs().max().item()
    apart = [((f.flatten(1).double() - w).norm() / w.norm().clamp(min=1e-30)).item() for f, w in zip(found, wanted, strict=True)]
    text = f"times within {worst:.1e}, gradients within {max(apart):.1e} of float64 where the slope is above {STEEP:g}"
    return Verdict(impl, worst <= TOLERANCE and max(apart) <= TOLERANCE, text)


def bench(options: Options, place: Place, told: Callable[[str], object] = print) -> dict[str, Any]:
    """The record: a row for each implementation and shape."""
    field, results = Field(), []
    with place.settled():
        for shape in options.shapes:
            problem = Problem(shape, options.batch, options.active)
            verdicts = [check(impl, problem) for impl in (PLAIN, OURS)]
            runs = {v.impl: problem.step(v.impl) for v in verdicts if field.judge(v, lambda text, shape=shape: told(f"{shape} {text}"))}
            if not runs:
                continue
            for row in rows(field.race(runs, place, shape), "forward_backward", place):
                row |= {"shape": shape, "vs_torch": row.pop("vs_copy") if PLAIN in runs else None}
                row["speed_up"] = 1 / row["vs_torch"] if row["vs_torch"] else None
                task = {"task": "relpsp", "impl": row["impl"], "shape": shape, "batch": options.batch, "active": options.active}
                found = child.run({**task, "threads": place.threads, "malloc": place.malloc})
                row["peak_mib"] = found["bytes"] / 2**20
                results.append(row)
    constants = {"times": "U(0, 1)", "weights": "N(5 / in, 1 / in)", "threshold": 1.0}
    return head("timing", asdict(options), place, field) | {"results": results, "constants": constants}


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, columns and rows of what is shown."""
    o = record["options"]
    columns = ["shape", "impl", "malloc", "ms", "speed-up", "peak MiB", "rounds"]
    keys = ("median_ms", "speed_up", "peak_mib", "rounds")
    shown: list[list[object]] = [
        [row["shape"], row["impl"], row["malloc"], *(short(row[key]) for key in keys)] for row in record["results"]
    ]
    return [(f"ReL-PSP layers forward and backward, {o['batch']} images, {record['threads']} thread(s)", columns, shown)]
