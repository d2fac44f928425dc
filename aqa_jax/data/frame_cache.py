"""Decoded frames kept in memory: the videos of a run are read many times, and decoding is most of the reading.

Nothing is written to disk and no cache outlives its process, so there is nothing that could be stale. What is found is
what was asked for: a frame's key holds the dataset's fingerprint, the row, the number and the crop.
"""

import os
import threading
from pathlib import Path

import numpy as np

Key = tuple[str, int, int, tuple[int, int, int, int]]
"""Fingerprint of the dataset, row of its table, frame number, and crop (top, left, height, width)."""

AUTO_SHARE = 0.25
"""Share of the free memory that a cache takes where nobody says how much."""


class FrameCache:
    """Frames uint8 [H, W, 3] up to a number of bytes; once full it keeps what it has. Safe to share between threads.

    Nothing is dropped for a newer frame: an epoch goes through all videos before it returns to the first, and a cache
    that prefers the newest would always have dropped the one that comes next.
    """

    def __init__(self, max_bytes: int):
        """Keeps at most ``max_bytes`` of pixels."""
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._frames: dict[Key, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> np.ndarray | None:
        """The frame, read-only, or None."""
        return self._frames.get(key)

    def put(self, key: Key, frame: np.ndarray) -> None:
        """Keeps a copy of ``frame`` if there is room."""
        if self.num_bytes + frame.nbytes > self.max_bytes:
            return
        kept = frame.copy()
        kept.flags.writeable = False
        with self._lock:
            if key not in self._frames and self.num_bytes + kept.nbytes <= self.max_bytes:
                self._frames[key] = kept
                self.num_bytes += kept.nbytes


def free_memory() -> int:
    """Bytes that this process can still take: of the machine's, and of its container's limit; 0 where nobody tells."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # No such file, or the word "max".
            continue
    return max(min(found, default=0), 0)


def cache_bytes(megabytes: int) -> int:
    """Bytes for ``config.data.cache_mb``: -1 is a share of the free memory."""
    return megabytes * 2**20 if megabytes >= 0 else int(free_memory() * AUTO_SHARE)
