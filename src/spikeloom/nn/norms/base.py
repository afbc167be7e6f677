"""What a temporal norm is: a normalisation that knows time."""

from __future__ import annotations

from torch import nn


class TemporalNorm(nn.Module):
    """Base of the norms whose statistics or scales involve the time axis. Input and output are `[T*B, C, ...]`."""

    steps: int | None = None
