"""Spike rasters and membrane traces of one input, small enough for a record."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.measure.activity import fires
from spikeloom.neurons import Neuron
from spikeloom.nn.snn import SNN

SHOWN, TRACED, LAYERS, TIMED = 48, 3, 4, 8  # neurons, membranes, layers, layers of a network of spike times


@torch.no_grad()
def sample(snn: SNN, x: Tensor) -> dict[str, Any]:
    """`prediction` for x `[1, ...]` and, for up to four layers spread over the depth, the raster of up to 48 neurons
    (`[step, neuron, value]` rows, the ones that fired most) and the membrane of the three most active. Of a timing layer the rows are
    `[time, neuron, 1]` of those that fired first, there is no membrane, and up to eight layers are taken."""
    seen: dict[str, tuple[nn.Module, Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (module, args[0], output)

        return hook

    handles = [m.register_forward_hook(watch(name)) for name, m in snn.net.named_modules() if fires(m)]
    training = snn.training
    snn.eval()
    try:
        prediction = int(snn(x).float().mean(0).argmax(1))
    finally:
        for handle in handles:
            handle.remove()
        snn.train(training)
    names = list(seen)
    most = LAYERS if any(isinstance(module, Neuron) for module, *_ in seen.values()) else TIMED
    chosen = sorted({round(i * (len(names) - 1) / (most - 1)) for i in range(most)}) if names else []
    return {"prediction": prediction, "layers": [_layer(names[i], *seen[names[i]]) for i in chosen]}


def _layer(name: str, neuron: nn.Module, x: Tensor, output: Tensor) -> dict[str, Any]:
    if not isinstance(neuron, Neuron):
        return _timed(name, neuron, output[0].flatten())
    trace = neuron.trace(x)
    spikes = trace["spikes"].flatten(1)  # [T, N]
    order = spikes.sum(0).argsort(descending=True, stable=True)
    shown = order[:SHOWN].sort().values
    raster = spikes[:, shown]
    rows = [[int(t), int(n), float(raster[t, n])] for t, n in raster.nonzero().tolist()]
    membrane, distance = trace["membrane"].flatten(2), trace["distance"].flatten(2)  # [T, K, N]
    traces = [
        {
            "neuron": int((shown == n).nonzero()[0]),
            "membrane": membrane[:, :, n].double().round(decimals=4).tolist(),
            "threshold": (membrane - distance)[0, :, n].double().round(decimals=4).tolist(),
        }
        for n in order[:TRACED].tolist()
    ]
    return {"name": name, "kind": type(neuron).__name__, "neurons": int(shown.numel()), "spikes": rows, "traces": traces}


def _timed(name: str, layer: nn.Module, times: Tensor) -> dict[str, Any]:
    shown = times.argsort(stable=True)[:SHOWN].sort().values
    rows = [[round(t, 4), n, 1.0] for n, t in enumerate(times[shown].tolist()) if t < float("inf")]
    return {"name": name, "kind": type(layer).__name__, "neurons": len(shown), "spikes": rows, "traces": []}
