"""How the C library gives the network's arrays their memory, on Linux.

A step on a CPU walks through hundreds of megabytes, which is quicker in pages of 2 MiB than of 4 KiB (docs/speed.md).
Where the system gives them only to who asks (transparent huge pages: madvise, the usual setting), the C library asks
for all large arrays if it is told so. And it hands arrays of 32 MiB and more back to the system when they are freed,
so that every step would have its working memory zeroed again page by page; told so, it keeps them. It has to be told
when the process starts.

Who scores a few videos is told otherwise: large pages, zeroed before their first use, cost more there than they save.
And a working memory of more than 64 MiB finds room to stay in the main arena alone, so all threads are given that one.
"""

import atexit
import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_PAGES = "glibc.malloc.hugetlb=1"
# Kept: arrays up to 256 MiB, and twice as much of unused memory. Larger steps spend little of their time on it, and a
# gap of their size, once a small array lies in it, would be memory lost.
_KEPT = (f"glibc.malloc.mmap_threshold={256 << 20}", f"glibc.malloc.trim_threshold={512 << 20}")
_ONE_ARENA = "glibc.malloc.arena_max=1"
_SINCE = (2, 35)  # hugetlb; the thresholds are older
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def environment(given: Mapping[str, str], system: Path = _SYSTEM, *, scoring: bool = False) -> dict[str, str]:
    """``given`` as a process needs it; empty where it is so already, or nothing would come of it.

    A setting that the user has in GLIBC_TUNABLES stays. ``scoring``: for a process that scores and does not train.
    """
    tunables = given.get("GLIBC_TUNABLES", "")
    if scoring:
        wanted: tuple[str, ...] = (_ONE_ARENA, *_KEPT)
    else:
        wanted = (_PAGES, *_KEPT) if _on_request(system) else _KEPT
    added = [setting for setting in wanted if setting.partition("=")[0] not in tunables]
    if not added or _glibc() < _SINCE:
        return {}
    return {**given, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, *added)))}


def restart(*, scoring: bool = False) -> None:
    """Starts this process again, as the same process with the same arguments, if it was started without."""
    if changed := environment(os.environ, scoring=scoring):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], changed)


def collect_rarely() -> None:
    """Garbage is looked for less often: hardly any forms, and the collector would go through loaded modules in vain.

    So it would once more when the process ends, for a tenth of a second.
    """
    gc.set_threshold(50_000, 20, 10)
    atexit.register(gc.freeze)


def _on_request(system: Path) -> bool:
    try:
        return "[madvise]" in system.read_text(encoding="ascii")
    except OSError:
        return False


def _glibc() -> tuple[int, ...]:
    """The C library's version; () where it is another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, OSError, ValueError):
        return ()
    numbers = version.split(".")
    return tuple(map(int, numbers)) if name == "glibc" and all(n.isdigit() for n in numbers) else ()
