"""What the rules share: checks of their constants and of the shapes they are given."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from spikeloom.core.errors import ParameterError, ShapeError, refusal


def positive(constants: Any, *names: str) -> None:
    """Raise ParameterError unless these constants are positive and finite."""
    for name in names:
        value = getattr(constants, name)
        if not 0 < value < math.inf:
            raise ParameterError(refusal(name, value, "positive and finite", "it is a time constant in ms"))


def bounded(constants: Any) -> None:
    """Raise ParameterError unless `low` is at most `high`."""
    if not constants.low <= constants.high:
        raise ParameterError(refusal("low, high", (constants.low, constants.high), "in this order", "they bound the weights"))


def checked(weights: Tensor, pre: Tensor, post: Tensor) -> Tensor:
    """pre as `[in, 1]` or `[in, out]`. Raises ShapeError unless it fits weights `[in, out]`, and post `[out]` too."""
    if weights.dim() != 2 or tuple(pre.shape) not in (tuple(weights.shape), (weights.shape[0],)) or post.shape != weights.shape[1:]:
        given = {"weights": list(weights.shape), "pre": list(pre.shape), "post": list(post.shape)}
        raise ShapeError(refusal("plasticity", given, "weights [in, out], pre [in] or [in, out], post [out]"))
    return pre if pre.dim() == 2 else pre[:, None]
