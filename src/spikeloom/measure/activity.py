"""How much each layer of neurons fires, and which neurons never do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN
from spikeloom.timing import TimingLayer

BINS, TAIL = 30, 0.01  # of a histogram of times: equal bins, and the share of the latest spikes, which have one of their own


@torch.no_grad()
def activity(snn: SNN, batches: Iterable[Tensor]) -> list[dict[str, Any]]:
    """One row per neuron layer, in the order of the forward pass, over all input batches (each as `snn` takes it).

    rate: mean output per neuron and step (a K-level unit counts up to K). silent, saturated, dormant: share of
    (neuron, input) pairs that never fired, that fired at the top level at every step, and whose surrogate derivative
    was 0 at every step, so that no gradient passed.

    A neuron of a timing layer spikes once at most: its rate is the share that fired, the silent ones are dormant, none is saturated. Its
    row has `mean_time` and `times` too, the histogram of its spike times: `{"edges": [...], "counts": [...]}`; None where none fired.
    """
    rows: dict[str, dict[str, Any]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            row = rows.setdefault(name, _empty(name, module))
            if isinstance(module, TimingLayer):
                _collect(row, output)
            else:
                _count(row, module, inputs[0], output)

        return hook

    handles = [m.register_forward_hook(watch(name)) for name, m in snn.net.named_modules() if fires(m)]
    training = snn.training
    snn.eval()
    try:
        for batch in batches:
            snn(batch)
    finally:
        for handle in handles:
            handle.remove()
        snn.train(training)
    return [_finish(row) for row in rows.values()]


def fires(module: nn.Module) -> bool:
    """Whether the module's output is spikes, or times of spikes."""
    return isinstance(module, Neuron) or (isinstance(module, TimingLayer) and module.emits == "times")


def _empty(name: str, neuron: nn.Module) -> dict[str, Any]:
    counts = {"sum": 0.0, "silent": 0, "saturated": 0, "dormant": 0, "pairs": 0}
    return {"name": name, "kind": type(neuron).__name__, "max_level": getattr(neuron, "levels", 1), **counts}


def _count(row: dict[str, Any], neuron: Any, x: Tensor, output: Tensor) -> None:
    spikes = output.unflatten(0, (neuron.steps, -1))  # [T, B, ...]
    row["neurons"], row["steps"] = spikes[0, 0].numel(), neuron.steps
    row["pairs"] += spikes[0].numel()
    row["sum"] += spikes.sum(dtype=torch.float64).item()
    row["silent"] += int((spikes.amax(0) == 0).sum())
    row["saturated"] += int((spikes.amin(0) >= row["max_level"]).sum())
    distance = neuron.trace(x)["distance"]  # [T, K, B, ...]
    passes = neuron.surrogate.derivative(distance).ne(0)
    row["dormant"] += int((~passes.flatten(0, 1).any(0)).sum())


def _collect(row: dict[str, Any], times: Tensor) -> None:
    row["neurons"], row["steps"] = times[0].numel(), 1
    row["pairs"] += times.numel()
    fired = times[times.isfinite()]
    row["sum"] += fired.numel()
    row["silent"] += times.numel() - fired.numel()
    row["dormant"] = row["silent"]
    row.setdefault("times", []).append(fired.cpu())


def _histogram(times: Tensor) -> dict[str, Any]:
    if not times.numel():
        return {"mean_time": None, "times": None}
    values = times.double().sort().values
    first, most, last = values[0].item(), values[int((1 - TAIL) * (len(values) - 1))].item(), values[-1].item()
    edges = torch.linspace(first, most, BINS + 1, dtype=torch.float64).tolist() + ([last] if last > most else [])
    edges = sorted(set(edges)) if most > first else [first, max(last, first + 1)]
    counts = torch.histogram(values, torch.tensor(edges, dtype=torch.float64)).hist
    return {"mean_time": values.mean().item(), "times": {"edges": edges, "counts": [int(count) for count in counts]}}


def _finish(row: dict[str, Any]) -> dict[str, Any]:
    pairs = row["pairs"]
    shares = {key: row[key] / pairs for key in ("silent", "saturated", "dormant")}
    found = {k: row[k] for k in ("name", "kind", "neurons", "max_level")} | {"rate": row["sum"] / (pairs * row["steps"])} | shares
    return found | _histogram(torch.cat(row["times"])) if "times" in row else found
