"""Videos on disk, frame sampling, decoding and the input pipeline. Nothing in here imports jax."""

import os


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
