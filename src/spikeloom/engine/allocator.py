"""Keeps glibc from returning large freed tensors to the system: every new large tensor then costs no page faults."""

from __future__ import annotations

import ctypes
import sys
from typing import Literal

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST = 2**31 - 1  # bytes


def tune_allocator() -> Literal["tuned", "unsupported"]:
    """Make large allocations of this process cheap, for as long as it runs; `"unsupported"` where the C library is not glibc.

    Freed memory stays with the process: its resident size stays at the peak. Never called on import.
    """
    if not sys.platform.startswith("linux"):
        return "unsupported"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return "unsupported"
    return "tuned" if mallopt(M_MMAP_THRESHOLD, MOST) and mallopt(M_TRIM_THRESHOLD, MOST) else "unsupported"
