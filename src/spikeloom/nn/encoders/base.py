"""What an encoder is: an image batch in, a time-major batch out."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from spikeloom.core.errors import ShapeError, refusal


class Encoder(nn.Module):
    """Maps `[B, ...]` to `[T, B, ...]`.

    `domain` says what it reads: `"raw"` images scaled to [0, 1] (they are probabilities or latencies), or
    `"standardised"` ones (an analog current). `still` says that all steps are equal, `spikes` that values are 0 and 1.
    """

    domain: ClassVar[Literal["raw", "standardised"]] = "standardised"
    still: ClassVar[bool] = False
    spikes: ClassVar[bool] = False

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Encode x `[B, ...]` over `steps` time steps: `[T, B, ...]`."""
        raise NotImplementedError

    def check_raw(self, x: Tensor) -> None:
        """Raise ShapeError when x leaves [0, 1]; a RuntimeError out of a compiled or exported graph."""
        if torch.compiler.is_compiling():  # a graph cannot branch on data
            message = refusal(f"{type(self).__name__} input", "other values", "in [0, 1]", "do not standardise the images")
            torch.ops.aten._assert_async.msg(((x >= 0) & (x <= 1)).all(), message)
        elif x.numel() and not (x.min() >= 0 and x.max() <= 1):
            given = f"values from {x.min().item():.3g} to {x.max().item():.3g}"
            raise ShapeError(refusal(f"{type(self).__name__} input", given, "in [0, 1]", "do not standardise the images"))
