"""Hostile pickles, torch files, TensorFlow checkpoints, safetensors, adapter and mat files: nothing is executed.

    taskset -c 0 nice -n 10 python scripts/reliability/hostile.py --n 100000

Each case is written to a folder in memory, as a stranger's file would lie there, and read. It must end in arrays or in
one of our errors, within five seconds of processor time and a gigabyte (the process may not have more). What an attack
would show in is watched by Python's own audit events: imports, compiled or executed code, processes, sockets, unpickled
names, and files that are opened to be written, renamed or removed.
"""

import contextlib
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
from forgeries import FORGERIES

from aqa_jax import safe_pickle
from aqa_jax.errors import AqaError
from aqa_jax.weights.adapter_file import read_adapter
from aqa_jax.weights.safetensors_io import read_safetensors
from aqa_jax.weights.source import load_source
from aqa_jax.weights.tf_checkpoint import read_checkpoint
from aqa_jax.weights.torch_file import read_torch

SECONDS, MEGABYTES = 5.0, 1024
FORBIDDEN = (
    "import", "exec", "compile", "code.__new__", "function.__new__", "pickle.find_class", "marshal.", "ctypes.",
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.remove", "os.rename",
    "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.putenv", "os.kill",
    "subprocess.", "socket.", "shutil.", "urllib.", "webbrowser.", "http.", "ftplib.", "smtplib.", "sqlite3.",
    "tempfile.", "winreg.", "sys.settrace",
)  # fmt: skip


class Guard:
    """Notes audit events that reading a file must not cause, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and (
            (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"))
            or (isinstance(arguments[2], int) and arguments[2] & 3)
        )
        if writes or event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r}"[:200])

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Yields what is seen inside."""
        self.seen = []
        self.on = True
        try:
            yield self.seen
        finally:
            self.on = False


def readers(kind: str) -> list[Callable[[Path], Any]]:
    """What a person could give such a file to."""
    known: dict[str, list[Callable[[Path], Any]]] = {
        "pickle": [safe_pickle.load, load_source],
        "torch zip": [read_torch],
        "torch legacy": [read_torch],
        "tensorflow": [read_checkpoint],
        "safetensors": [read_safetensors, read_adapter],
        "adapter": [read_adapter],
        "mat": [load_source],
    }
    return known[kind]


def read(reader: Callable[[Path], Any], path: Path, guard: Guard) -> tuple[str, list[str]]:
    """What came of it, and what was wrong with that."""
    wrong: list[str] = []
    started = time.process_time()
    try:
        with guard.watching() as seen:
            reader(path)
        outcome = "read"
    except AqaError as error:
        outcome = type(error).__name__
        if isinstance(error.__cause__, MemoryError):
            wrong.append(f"asked for more than {MEGABYTES} MB")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome = "untyped"
        wrong.append(f"{type(error).__name__}: {error}"[:300])
    wrong += seen
    if (seconds := time.process_time() - started) > SECONDS:
        wrong.append(f"{seconds:.1f} s")
    return outcome, wrong


def main() -> int:
    """Runs it."""
    parser = common.options(__doc__ or "", 100_000)
    parser.add_argument("--keep", default="", help="a folder for the files that something was wrong with")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    counts, wrong = Counter[str](), list[dict[str, Any]]()
    guard, slowest = Guard(), 0.0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        folder = Path(temporary)
        # What is imported at the first use is no answer to a file.
        for kind, forge in FORGERIES.items():
            for _ in range(30):
                warm(folder, kind, forge(rng))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEGABYTES * 2**20,) * 2)
        started = time.monotonic()
        for i in range(given.n):
            kind = list(FORGERIES)[i % len(FORGERIES)]
            files = FORGERIES[kind](rng)
            path = place(folder, files)
            for reader in readers(kind):
                before = time.process_time()
                outcome, problems = read(reader, path, guard)
                slowest = max(slowest, time.process_time() - before)
                counts[f"{kind}: {outcome}"] += 1
                if problems:
                    wrong.append({"case": i, "kind": kind, "reader": reader.__name__, "problems": problems[:5]})
                    if given.keep:
                        shutil.copytree(folder, Path(given.keep) / f"{i}", dirs_exist_ok=True)
    return common.finish(
        "hostile", n=given.n, output=given.output, passed=not wrong, wrong=wrong[:50],
        counts={"executed, untyped, slow or large": len(wrong), **dict(sorted(counts.items()))},
        slowest_seconds=round(slowest, 2), minutes=round((time.monotonic() - started) / 60, 1),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )  # fmt: skip


def place(folder: Path, files: dict[str, bytes]) -> Path:
    """Writes the files in place of the last ones; the path that is given to a reader."""
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files))


def warm(folder: Path, kind: str, files: dict[str, bytes]) -> None:
    """Reads without being watched."""
    path = place(folder, files)
    for reader in readers(kind):
        with contextlib.suppress(Exception):
            reader(path)


if __name__ == "__main__":
    sys.exit(main())
