"""Synaptic operations, counted exactly from the spikes that arrive at each layer with weights.

An accumulate (AC) is one spike reaching one output; a spike of level k counts k times. An average pool hands its q spikes on
one by one, so its output m/q counts m. Input that is not made of spikes (an analog image) costs multiply-accumulates (MAC) on
its non-zero values, once if it is the same at every step. Norms fold into the convolutions and cost nothing. In a timing layer
every input spikes at most once, and every spike that arrives is an accumulate at each of its synapses, before or after they fire.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.convert.affine import Affine
from spikeloom.nn.snn import SNN
from spikeloom.timing import TimingLayer

POOLS = (1, 4, 9, 16, 25, 36, 49, 64)
_ONES = {
    nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d,
    nn.ConvTranspose1d: F.conv_transpose1d, nn.ConvTranspose2d: F.conv_transpose2d, nn.ConvTranspose3d: F.conv_transpose3d,
}  # fmt: skip
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def operations(snn: SNN, batch: Tensor) -> list[dict[str, Any]]:
    """One row per layer with weights, averaged over the batch (as `snn` takes it): `macs` of one dense pass per image,
    `acs` and `analog_macs` per image over all T steps (and the prelude's)."""
    return [
        {**row, "acs": float(row["acs"].sum()), "analog_macs": float(row["analog_macs"].sum())} for row in operations_by_step(snn, batch)
    ]


@torch.no_grad()
def operations_by_step(snn: SNN, batch: Tensor) -> list[dict[str, Any]]:
    """The same with `acs` and `analog_macs` as tensors `[T]`, one number for each step (a prelude's belong to the first)."""
    rows: dict[str, dict[str, Any]] = {}

    def watch(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            rows[name] = {"name": name, **_count(layer, inputs[0], output, snn.steps + snn.prelude, snn.prelude)}

        return hook

    weighted = [(name, m) for name, m in snn.net.named_modules() if isinstance(m, (*_ONES, nn.Linear, Affine, TimingLayer))]
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


def _count(layer: Any, x: Tensor, output: Tensor, steps: int, prelude: int) -> dict[str, Any]:
    if isinstance(layer, TimingLayer):
        return _timed(layer, x, output)
    x = x.float()
    if isinstance(layer, Affine):
        macs = 0  # the ANN has none
    elif isinstance(layer, (nn.Linear, *_CONVOLUTIONS)):
        macs = output[0].numel() * layer.weight[0].numel()
    else:
        macs = x[0].numel() * layer.weight[0].numel()
    # spikes are whole numbers, after a pool of q they are multiples of 1/q
    q = next((q for q in POOLS if bool(((x * q).round() - x * q).abs().max() < 1e-4)), None)
    row = {"kind": type(layer).__name__, "macs": macs, "acs": torch.zeros(steps), "analog_macs": torch.zeros(steps)}
    if q is not None:
        row["acs"] = _reached(layer, x.abs() * q, steps)
    else:
        per_step = x.unflatten(0, (steps, -1))
        if bool((per_step == per_step[:1]).all()):
            row["analog_macs"][:1] = _reached(layer, per_step[0].ne(0).float(), 1)
        else:
            row["analog_macs"] = _reached(layer, x.ne(0).float(), steps)
    images = x.shape[0] // steps
    for key in ("acs", "analog_macs"):
        first, rest = row[key][: prelude + 1].sum(0, keepdim=True), row[key][prelude + 1 :]
        row[key] = torch.cat([first, rest]) / images
    return row


def _timed(layer: TimingLayer, t: Tensor, output: Tensor) -> dict[str, Any]:
    arrived = layer.reached(t.isfinite().double()).mean().cpu().view(1)
    macs = output[0].numel() * layer.weight[0].numel()
    return {"kind": type(layer).__name__, "macs": macs, "acs": arrived, "analog_macs": torch.zeros(1)}


def _reached(layer: Any, events: Tensor, steps: int) -> Tensor:
    """Number of (event, output) pairs in each step, `[steps]`: each event times the outputs it reaches."""
    if isinstance(layer, Affine):
        fan = events
    elif isinstance(layer, nn.Linear):
        fan = events * layer.out_features
    else:
        groups, channels = layer.groups, layer.out_channels
        ones = torch.ones(1, 1, *layer.kernel_size, device=events.device)
        options: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        if not isinstance(layer, _CONVOLUTIONS):
            options["output_padding"] = layer.output_padding
        fan = _ONES[type(layer)](events.sum(1, keepdim=True), ones, None, **options) * (channels / groups)
    return fan.unflatten(0, (steps, -1)).flatten(1).sum(1, dtype=torch.float64).cpu()
