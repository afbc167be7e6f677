"""What every module that unfolds time shares: the number of steps, and the state of a run step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

State = tuple[Tensor, ...]
# a module that a network calls twice per step has two states
Place = tuple[nn.Module, int]
Carried = dict[Place, State]

# states of a step-by-step run; owned by a Stream, set only while it calls the network
_carried: ContextVar[tuple[Carried, Counter[nn.Module]] | None] = ContextVar("carried", default=None)
_streaming: list[Carried] = []  # those of all threads; torch.compile cannot look into a ContextVar, and guards that this is empty


@contextmanager
def carrying(states: Carried) -> Iterator[None]:
    """Modules called inside start from `states` and leave their final state there; x is then one step `[B, ...]`."""
    token = _carried.set((states, Counter()))
    _streaming.append(states)
    try:
        yield
    finally:
        _streaming.pop()
        _carried.reset(token)


class Temporal(nn.Module):
    """A module whose input `[T*B, ...]` is T steps of a batch; the SNN around it sets `steps`."""

    steps: int | None = None

    @property
    def needs_all_steps(self) -> bool:
        """Whether it cannot run step by step as it is now."""
        return False

    def carried(self) -> tuple[Carried, Place] | None:
        """While a stream calls the network: its states, and the place of this call among them. Call it once per forward."""
        current = _carried.get() if _streaming else None
        if current is None:
            return None
        states, calls = current
        place = (self, calls[self])
        calls[self] += 1
        return states, place
