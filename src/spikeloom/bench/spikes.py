"""What the convolutions of a converted network read, on real test images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeloom.bench import inference
from spikeloom.core.errors import ParameterError, refusal
from spikeloom.nn import fuse, sparse


@dataclass(frozen=True)
class Read:
    """A convolution that reads spikes. spikes: whole numbers `[B, C, H, W]` of `planes` bits, of the last time step."""

    name: str
    layer: nn.Conv2d
    spikes: Tensor
    planes: int


@torch.no_grad()
def real(model: str, data: str, method: str, steps: int, batch: int, data_dir: str | None = None) -> list[Read]:
    """Of the convolutions of `model` (as `spikeloom convert` takes it), at step `steps`, for the first `batch` test images.

    data: image set, "" for the one of a network of the zoo. Raises ParameterError where none reads spikes.
    """
    options = inference.Options(model, None, data, method, steps, (batch,), 1, 256, data_dir)
    problem = inference.Problem(options)
    net, found = problem.snn.net.eval(), dict[nn.Module, Read]()
    readers = {r.layer: r for r in sparse.readers(net, fuse.traced(net)[0]) if r.counts is not None and isinstance(r.layer, nn.Conv2d)}

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        reader = readers[layer]  # type: ignore[index]
        spikes = (inputs[0][-batch:] / reader.counts.scale).contiguous()  # type: ignore[union-attr]
        found[layer] = Read(reader.name, layer, spikes, reader.counts.top.bit_length())  # type: ignore[union-attr,arg-type]

    handles = [layer.register_forward_pre_hook(watch) for layer in readers]
    try:
        problem.snn(problem.x[:batch])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ParameterError(refusal("bench --model", model, "a network whose convolutions read spikes"))
    return list(found.values())
