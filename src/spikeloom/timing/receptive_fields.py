"""Population code: a number becomes the spike times of neurons with overlapping Gaussian receptive fields.

    centre_m = low + (2m - 3)/2 (high - low)/(M - 2),  m = 1..M,      width = (high - low) / (beta (M - 2)),
    activation_m = exp(-(x - centre_m)^2 / (2 width^2)),              t_m = span (1 - activation_m),

and a neuron whose activation is under `cut` stays silent: a high activation spikes early.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikeloom.core.errors import ParameterError, ShapeError, refusal
from spikeloom.core.params import Count, Param

FIELDS = Count(8, low=3, doc="M, the neurons for each feature")
BETA = Param(1.5, low=0, low_open=True, doc="the larger, the narrower the fields")
SPAN = Param(10.0, low=0, low_open=True, unit="ms", doc="time of a spike at activation 0")
CUT = Param(0.1, low=0, high=1, doc="activation under which a neuron is silent")


def fields(low: Tensor | float, high: Tensor | float, count: int = 8, beta: float = 1.5) -> tuple[Tensor, Tensor]:
    """Centres `[..., count]` and widths `[...]` of the fields over the range from low to high.

    Raises ParameterError for fewer than three fields, or for an empty range.
    """
    FIELDS.check("fields.count", count)
    BETA.check("fields.beta", beta)
    low = torch.as_tensor(low, dtype=torch.get_default_dtype() if isinstance(low, float | int) else None)
    high = torch.as_tensor(high, dtype=low.dtype)
    if bool((high <= low).any()):
        raise ParameterError(refusal("fields", (low.tolist(), high.tolist()), "low < high", "drop features that never change"))
    spacing = (high - low) / (count - 2)
    steps = torch.arange(1, count + 1, dtype=low.dtype) - 1.5
    return low[..., None] + steps * spacing[..., None], spacing / beta


def population_times(
    x: Tensor, low: Tensor | float, high: Tensor | float, count: int = 8, beta: float = 1.5, span: float = 10.0, cut: float = 0.1
) -> Tensor:
    """Spike times `[B, features * count]`, ms, in 0..span (inf: silent), of values `[B, features]` with ranges low, high (`[features]`).

    Raises ShapeError when x is not a table, and what `fields` raises.
    """
    if x.dim() != 2:
        raise ShapeError(refusal("population_times", list(x.shape), "a table [B, features]"))
    SPAN.check("population_times.span", span)
    CUT.check("population_times.cut", cut)
    centres, width = fields(torch.as_tensor(low, dtype=x.dtype), torch.as_tensor(high, dtype=x.dtype), count, beta)
    activation = torch.exp(-(((x[..., None] - centres) / width[..., None]) ** 2) / 2)
    return torch.where(activation >= cut, span * (1 - activation), math.inf).flatten(1)
