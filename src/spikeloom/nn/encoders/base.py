"""What an encoder is: an image batch in, a time-major batch out."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn


class Encoder(nn.Module):
    """Maps `[B, ...]` to `[T, B, ...]`.

    `domain` says what it reads: `"raw"` images scaled to [0, 1] (they are probabilities or latencies), or
    `"standardised"` ones (an analog current).
    """

    domain: ClassVar[Literal["raw", "standardised"]] = "standardised"

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """Encode x `[B, ...]` over `steps` time steps: `[T, B, ...]`."""
        raise NotImplementedError
