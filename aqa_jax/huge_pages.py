"""Large memory pages for the network's arrays, on Linux.

A step on a CPU walks through hundreds of megabytes, which is quicker in pages of 2 MiB than of 4 KiB (docs/speed.md).
Where the system gives them only to who asks (transparent huge pages: madvise, the usual setting), the C library asks
for all large arrays, but only if it is told so when the process starts.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_SETTING = "glibc.malloc.hugetlb"
_SINCE = (2, 35)
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def environment(given: Mapping[str, str], system: Path = _SYSTEM) -> dict[str, str]:
    """``given`` as a process needs it for large pages; empty where it is so already, or nothing would come of it.

    A choice that the user has made in GLIBC_TUNABLES stays.
    """
    tunables = given.get("GLIBC_TUNABLES", "")
    if _SETTING in tunables or _glibc() < _SINCE or not _on_request(system):
        return {}
    return {**given, "GLIBC_TUNABLES": ":".join(filter(None, (tunables, f"{_SETTING}=1")))}


def restart() -> None:
    """Starts this process again, as the same process with the same arguments, if it has no large pages yet."""
    if changed := environment(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], changed)


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
