"""How far each layer of a converted network is from the ANN it came from, step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.convert.affine import along
from spikeloom.convert.pipeline import Converted
from spikeloom.neurons import Neuron


@torch.no_grad()
def fidelity(snn: Converted, batch: Tensor) -> list[dict[str, Any]]:
    """One row per layer of neurons for inputs `[B, ...]`: name; `scale`, the mean ANN activation per spike; `relative_error` `[T]`, the
    distance between scale * rate after t steps and the ANN's activation, relative to the activation's size; `activation`, the
    ANN's mean. Random inputs are drawn from torch's generator."""
    ann, scales = snn.conversion.ann, snn.conversion.scales
    wanted: dict[str, Tensor] = {}

    def look(node: fx.Node, value: Any) -> None:
        if node.name in scales:
            wanted[node.name] = value

    ann.watch(look, batch)
    rows: dict[str, dict[str, Any]] = {}

    def watch(name: str, layer: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            spikes = output.unflatten(0, (snn.prelude + snn.steps, -1))[snn.prelude :]
            scale, target = scales[name].to(spikes), wanted.pop(name)
            total, errors, size = torch.zeros_like(spikes[0]), [], target.norm().clamp(min=1e-30)
            for t, spike in enumerate(spikes, 1):
                total += spike
                errors.append(((total * along(scale / t, total.dim()) - target).norm() / size).item())
            rows[layer] = {
                "name": layer, "scale": scale.mean().item(), "activation": target.mean().item(), "relative_error": errors,
            }  # fmt: skip

        return hook

    modules = dict(snn.net.named_modules())
    graph: Any = snn.net
    nodes = [node for node in graph.graph.nodes if node.op == "call_module" and isinstance(modules[node.target], Neuron)]
    handles = [modules[node.target].register_forward_hook(watch(node.name, node.target)) for node in nodes]
    try:
        snn(batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(rows.values())
