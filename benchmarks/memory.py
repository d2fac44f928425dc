"""What a call needs in memory at its highest point, on Linux."""

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOW = (
    "Each in a process of its own, a few steps. step_mb: the highest resident size during them (VmHWM, set back by "
    "/proc/self/clear_refs) less the resident size before, when parameters, frames and the compiled program are there. "
    "raw_mb: the highest resident size of the whole process, with imports, loading and, where the program was not in "
    "the cache, its compilation (torch's has jax imported too, to share its weights)."
)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def peak(call: Callable[[], Any], repeats: int = 3) -> dict[str, float]:
    """MB (2^20 bytes) that ``call`` needs, called repeatedly; see :data:`HOW`. Empty where the kernel keeps no peak."""
    # What compiling has left free but resident would hide what the steps need.
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        raw, before = _status("VmHWM"), _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return {}
    for _ in range(repeats):
        call()
    # Not ru_maxrss: a child inherits the peak of the process that started it.
    highest = _status("VmHWM")
    return {"before_mb": before, "step_mb": highest - before, "raw_mb": max(raw, highest)}
