"""What a call needs in memory at its highest point, on Linux."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOW = (
    "Each in a process of its own, three steps. step_mb: the highest resident size during them (VmHWM, set back by "
    "/proc/self/clear_refs) less the resident size before, when parameters, frames and the compiled program (from the "
    "cache) are there. raw_mb: ru_maxrss of the whole process, imports and loading included."
)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def peak(call: Callable[[], Any]) -> dict[str, float]:
    """MB (2^20 bytes) that ``call`` needs; see :data:`HOW`. ``step_mb`` is missing where the kernel keeps no peak."""
    found: dict[str, float] = {}
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        call()
        found = {"before_mb": before, "step_mb": _status("VmHWM") - before}
    except OSError:
        call()
    return {**found, "raw_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
