"""What a forward pass keeps for its backward, and how much a step makes a process grow."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor


class _Held:
    """A saved tensor, alive as long as the graph that saved it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()


def saved_bytes(forward: Callable[[], object], without: Iterable[Tensor] = ()) -> int:
    """Bytes that `forward` keeps for the backward: every storage once, the input's included, those of `without` left out.

    Sees what is saved the documented way (`save_for_backward`, torch's own operations), not tensors hidden in Python attributes.
    """
    held: weakref.WeakSet[_Held] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Held:
        held.add(kept := _Held(tensor))
        return kept

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        output = forward()
    storages = {s.data_ptr(): s.nbytes() for s in (kept.tensor.untyped_storage() for kept in held)}
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
