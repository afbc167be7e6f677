"""XOR in spike times by SpikeProp, from several random starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.experiments._figures import lines, listed, raster, table
from spikeloom.experiments._spikeprop import LAYERS, Advance, SpikeProp


@dataclass(frozen=True, kw_only=True)
class SpikePropXor(SpikeProp):
    """XOR by spike times: inputs at 0 or 6 ms and a bias at 0; equal inputs to answer late. One part for each random start.

    One hidden neuron is inhibitory: the weights from it stay at or below 0. Converged: the summed error is under `stop`.
    """

    seeds: int = 10
    early_input: float = 0.0
    late_input: float = 6.0
    stop: float = 1.0

    def parts(self) -> list[str]:
        return [f"seed-{self.seed + k}" for k in range(self.seeds)]

    def patterns(self) -> tuple[Tensor, Tensor]:
        """Inputs `[4, 3]` and targets `[4, 1]`, ms."""
        a, b = self.early_input, self.late_input
        times = torch.tensor([(a, a, 0.0), (a, b, 0.0), (b, a, 0.0), (b, b, 0.0)], dtype=torch.float64)
        return times, torch.tensor([[self.late], [self.early], [self.early], [self.late]], dtype=torch.float64)

    def run(self, part: str, folder: Path, data_dir: str | None, advance: Advance) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(int(part.removeprefix("seed-")))
        net = nn.Sequential(self.layer(3, self.hidden), self.layer(self.hidden, 1)).double()
        hidden, output = (layer.weight for layer in net)
        with torch.no_grad():
            hidden.uniform_(-0.5, 1.0, generator=draw)
            output.uniform_(0.0, 1.0, generator=draw)
            output[:, -1].uniform_(-0.5, 0.0, generator=draw)
        (times, targets), optimiser, losses = self.patterns(), self.descent(net), []
        while True:
            loss = self.loss(net(times), targets)
            losses.append(loss.item())
            if losses[-1] < self.stop or len(losses) > self.epochs:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                output[:, -1].clamp_(max=0)
            advance(len(losses) / (self.epochs + 1))
        with torch.no_grad():
            layers = [times, middle := net[0](times), net[1](middle)]
        params = sum(p.numel() for p in net.parameters())
        converged = {"epochs": len(losses) - 1} if losses[-1] < self.stop else {"epochs": None}
        shown = {"layers": [listed(values) for values in layers], "times": self.counted(layers)}
        return {**converged, **shown, "losses": losses, "params": params}

    def summarise(self, results: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        first, start = next(iter(results.values())), next(iter(results))
        needed = [found["epochs"] for found in results.values() if found["epochs"] is not None]
        samples = [dict(zip(LAYERS, row, strict=True)) for row in zip(*first["layers"], strict=True)]
        targets = self.patterns()[1].flatten().tolist()
        rows = [[*row["inputs"][:2], target, *row["outputs"]] for row, target in zip(samples, targets, strict=True)]
        curves = [(name, range(len(found["losses"])), found["losses"]) for name, found in results.items()]
        ends = f"Summed over the four patterns; learning ends under {self.stop:g}."
        return {
            "params": first["params"],
            "results": {
                "starts": len(results), "converged": len(needed), f"share_within_{self.epochs}_epochs": len(needed) / len(results),
                "mean_epochs": sum(needed) / len(needed) if needed else None, "slowest_epochs": max(needed, default=None),
            },
            "figures": [
                lines("Error while learning XOR", ends, ("epoch", "1/2 sum (t - target)², ms²"), curves, y_scale="log"),
                table("XOR in spike times", f"Of {start}; ms.", ("first input", "second input", "target", "output"), rows),
                self.histogram("The four patterns, all starts.", results.values()),
                *(raster(f"Inputs at {a:g} and {b:g} ms", f"Of {start}.", row) for row, (a, b, *_) in zip(samples, rows, strict=True)),
            ],
        }  # fmt: skip
