"""Max pooling of spikes: the spikes of the input most active so far (Rueckauer et al. 2017), or every increase of the largest count."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeloom.core import bibliography
from spikeloom.core.errors import ShapeError, refusal
from spikeloom.core.params import Choice
from spikeloom.core.temporal import Temporal


class SpikingMaxPool2d(Temporal):
    """Spikes from each window, by the sums of its inputs' spikes so far, this step included.

    passes: `"leader"`: the spike of the input with the largest sum passes; ties: the first. Where two rates are close the lead changes
        sides and spikes of both pass, more than either has. `"increase"`: what the largest sum has grown by; after every step the
        output's sum is exactly the largest of the inputs' sums, so that a rate is the largest of the rates.
    Other args: those of `nn.MaxPool2d`, without `return_indices`.

    Shapes: `[T*B, C, H, W]` to `[T*B, C, H', W']`; alone, with `steps` unset, `[T, B, C, H, W]` to `[T, B, C, H', W']`.
    Raises: ShapeError for another number of axes, or rows that are not T times a batch.
    """

    paper = bibliography.RUECKAUER

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *, passes: str = "leader"
    ) -> None:  # fmt: skip
        super().__init__()
        self.passes = Choice(("leader", "increase"), "whose spikes pass").check("SpikingMaxPool2d.passes", passes)
        self.window = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}

    def forward(self, x: Tensor) -> Tensor:
        carried = self.carried()
        if carried is not None:
            states, place = carried
            y, states[place] = self._gate(x, 1, states.get(place))
            return y
        if self.steps is not None:
            return self._gate(x, self.steps, None)[0]
        if x.dim() != 5 or not x.shape[0]:
            raise ShapeError(refusal("SpikingMaxPool2d input", list(x.shape), "[T, B, C, H, W]", "or put it into an SNN"))
        return self._gate(x.flatten(0, 1), x.shape[0], None)[0].unflatten(0, x.shape[:2])

    def _gate(self, x: Tensor, steps: int, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        if x.dim() != 4 or x.shape[0] % steps:
            raise ShapeError(refusal("SpikingMaxPool2d input", list(x.shape), f"[T*B, C, H, W] with T = {steps}"))
        with torch.no_grad():
            wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            first, *rest = wide.split(x.shape[0] // steps)
            counts = list(accumulate([first if state is None else state[0] + first, *rest]))  # each [B, C, H, W]
            if self.passes == "increase":
                before = torch.zeros_like(first) if state is None else state[0]
                largest = F.max_pool2d(torch.cat([before, *counts]), **self.window)  # [(1 + T)*B, C, H', W']
                return (largest[len(first) :] - largest[: -len(first)]).to(x.dtype), (counts[-1],)
            index = F.max_pool2d(torch.cat(counts), **self.window, return_indices=True)[1]  # [T*B, C, H', W'], into H*W
        return x.flatten(2).gather(2, index.flatten(2)).view(index.shape), (counts[-1],)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in {**self.window, "passes": self.passes}.items())
