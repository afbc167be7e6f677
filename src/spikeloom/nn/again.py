"""What holds while a network runs holds again in its backward pass, where `torch.utils.checkpoint` runs parts of it a second time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Variable


class _Open(threading.local):
    """What this thread's backward passes have entered and not left; torch calls nothing at the end of one that fails."""

    def __init__(self) -> None:
        self.stacks: list[ExitStack] = []


_open = _Open()


def in_backward(y: Tensor, context: Callable[[], AbstractContextManager[None]]) -> None:
    """Enter `context()` when the backward pass reaches y, leave it when that pass ends."""
    if y.grad_fn is None:
        return

    def enter(grads: Any) -> None:
        stack = ExitStack()
        stack.enter_context(context())
        _open.stacks.append(stack)
        Variable._execution_engine.queue_callback(lambda: _leave(stack))  # type: ignore[attr-defined]

    y.grad_fn.register_prehook(enter)


def leave_failed() -> None:
    """Leave what a backward pass that raised an error has left open."""
    if torch._C._current_graph_task_id() == -1:  # no backward pass is running
        for stack in reversed(_open.stacks[:]):
            _leave(stack)


def _leave(stack: ExitStack) -> None:
    if stack in _open.stacks:
        _open.stacks.remove(stack)
        stack.close()
