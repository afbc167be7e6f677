"""Synaptic operations, counted exactly from the spikes that arrive at each convolution and linear layer.

An accumulate (AC) is one spike reaching one output; a spike of level k counts k times. An average pool hands its q spikes on
one by one, so its output m/q counts m. Input that is not made of spikes (an analog image) costs multiply-accumulates (MAC) on
its non-zero values, once if it is the same at every step. Norms fold into the convolutions and cost nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.nn.snn import SNN

POOLS = (1, 4, 9, 16, 25, 36, 49, 64)


@torch.no_grad()
def operations(snn: SNN, batch: Tensor) -> list[dict[str, Any]]:
    """One row per layer with weights, averaged over the batch (as `snn` takes it): `macs` of one dense pass per image,
    `acs` and `analog_macs` per image over all steps, those of a prelude too."""
    rows: dict[str, dict[str, Any]] = {}

    def watch(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            rows[name] = {"name": name, **_count(layer, inputs[0], output, snn.prelude + snn.steps)}

        return hook

    weighted = [(name, m) for name, m in snn.net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [m.register_forward_hook(watch(name)) for name, m in weighted]
    training = snn.training
    snn.eval()
    try:
        snn(batch)
    finally:
        for handle in handles:
            handle.remove()
        snn.train(training)
    return list(rows.values())


def _count(layer: Any, x: Tensor, output: Tensor, steps: int) -> dict[str, Any]:
    x, images = x.float(), x.shape[0] // steps
    macs = output[0].numel() * layer.weight[0].numel()
    # PLIF and MLF spikes are whole numbers, after a pool of q they are multiples of 1/q
    q = next((q for q in POOLS if bool(((x * q).round() - x * q).abs().max() < 1e-4)), None)
    row = {"kind": type(layer).__name__, "macs": macs, "acs": 0.0, "analog_macs": 0.0}
    if q is not None:
        row["acs"] = _reached(layer, x.abs() * q) / images
    else:
        per_step = x.unflatten(0, (steps, -1))
        once = bool((per_step == per_step[:1]).all())
        row["analog_macs"] = _reached(layer, (per_step[0] if once else x).ne(0).float()) / images
    return row


def _reached(layer: Any, events: Tensor) -> float:
    """Number of (event, output) pairs: each event times the outputs it reaches."""
    if isinstance(layer, nn.Linear):
        return events.sum(dtype=torch.float64).item() * layer.out_features
    ones = torch.ones(1, 1, *layer.kernel_size, device=events.device)
    fan = F.conv2d(events.sum(1, keepdim=True), ones, None, layer.stride, layer.padding, layer.dilation)
    return fan.sum(dtype=torch.float64).item() * layer.out_channels / layer.groups
