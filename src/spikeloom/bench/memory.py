"""What a forward pass keeps for its backward, and how much a step makes a process grow."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class _Held:
    """What is kept of a saved tensor, alive as long as the graph that keeps it."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept.detach() if isinstance(kept, Tensor) else kept

    def tensors(self) -> list[Tensor]:
        """The tensor itself, or those in the attributes of what a hook made of it."""
        return [t for t in ([self.kept] if isinstance(self.kept, Tensor) else vars(self.kept).values()) if isinstance(t, Tensor)]


def saved_bytes(forward: Callable[[], object], without: Iterable[Tensor] = ()) -> int:
    """Bytes that `forward` keeps for the backward: every storage once, the input's included, those of `without` left out.

    Sees what is saved the documented way (`save_for_backward`, torch's own operations, saved-tensor hooks), not tensors hidden in
    attributes of a context.
    """
    held: weakref.WeakSet[_Held] = weakref.WeakSet()

    def enter(hooks: saved_tensors_hooks) -> None:
        def pack(tensor: Tensor) -> _Held:
            held.add(kept := _Held(hooks.pack_hook(tensor)))
            return kept

        torch._C._autograd._push_saved_tensors_default_hooks(pack, lambda kept: hooks.unpack_hook(kept.kept))

    # hooks that `forward` sets would hide ours: they are wrapped as they are entered
    plain = saved_tensors_hooks.__enter__
    saved_tensors_hooks.__enter__ = enter  # type: ignore[method-assign]
    try:
        with torch.enable_grad(), saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            output = forward()
    finally:
        saved_tensors_hooks.__enter__ = plain  # type: ignore[method-assign]
    storages = {s.data_ptr(): s.nbytes() for kept in held for s in (t.untyped_storage() for t in kept.tensors())}
    left_out = {t.untyped_storage().data_ptr() for t in without}
    del output
    return sum(size for place, size in storages.items() if place not in left_out)


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """How far memory rises during `run` above what was in use before: CUDA's allocations, or this process's resident size.

    On a CPU call it in a fresh process: memory that was freed before and not returned to the system hides a rise.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before = _resident()
    run()
    return max(0, _highest() - before)


def _resident() -> int:
    """Resident bytes now; the high-water mark falls to it where the system allows."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _highest()


def _highest() -> int:
    """High-water mark of the resident size, in bytes."""
    try:
        return _status("VmHWM")
    except OSError:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage if sys.platform == "darwin" else usage * 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
