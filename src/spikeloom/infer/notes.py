"""What a part of a Runner says of its last call."""

from __future__ import annotations

from torch import nn


class Noted(nn.Module):
    """reason: why it was dense in the last call; "" where it was not. density: events per input element, where it counted them."""

    reason, density = "", 0.0

    def note(self, reason: str = "", density: float = 0.0) -> None:
        """Keep both; torch's own assignment to a module takes longer than a small layer."""
        own = self.__dict__
        own["reason"], own["density"] = reason, density
