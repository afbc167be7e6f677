"""What the perfect integrators share that networks are converted to: no leak, and a first membrane that can be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikeloom.core.errors import ShapeError, refusal
from spikeloom.core.params import Choice, Param
from spikeloom.core.temporal import State
from spikeloom.neurons.base import Neuron


class Integrator(Neuron):
    """Base of the perfect integrators. The membrane, the first of the states, starts at `start` thresholds plus `potential`, the others
    at 0. `start` is None where 0 was given: such a neuron hands no first state to its kernel.

    potential: None, or an assigned tensor of the shape of one input without batch, in units of the membrane. It is a buffer.
    """

    threshold = Param(1.0, low=0, low_open=True, doc="membrane at which the neuron fires")
    start = Param(0.0, unit="thresholds", doc="the membrane before the first step")
    reset_gradient = Choice(("detached", "through"))
    fires = Choice(("at_or_above", "above", "smooth"))
    default_surrogate = "atan"

    potential: Tensor | None

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.register_buffer("potential", None)
        start = self.values()["start"]
        if "start" not in self.learnable and not start.dim() and start == 0:
            self.start = None

    @property
    def starts_at_zero(self) -> bool:
        return self.start is None and self.potential is None and type(self).initial is Integrator.initial

    def initial(self, x: Tensor) -> State:
        """State before the first step, each `[B, ...]` like x. Raises ShapeError where `potential` has another shape than a sample."""
        membrane, *others = super().initial(x)
        if self.start is not None:
            p = self._shaped(x)
            membrane = membrane + p.start * p.threshold
        if self.potential is not None:
            if self.potential.shape != x.shape[1:]:
                label = f"{type(self).__name__}.potential"
                raise ShapeError(refusal(label, list(self.potential.shape), f"{list(x.shape[1:])}, the shape of one input without batch"))
            membrane = membrane + self.potential.to(membrane.dtype)
        return membrane, *others

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(f"{prefix}potential")
        if stored is not None and self.potential is None:
            self.potential = torch.empty_like(stored, device=self.threshold.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
