"""One training a workdir: a job that was started again must not write beside the one that is still ending."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aqa_jax.errors import RunError
from aqa_jax.files import storage_errors


@contextmanager
def only_writer(workdir: Path, seconds: float = 60.0) -> Iterator[None]:
    """Holds ``workdir``'s lock, which the system frees when its holder dies; where disks know no locks, nothing.

    Raises:
      RunError: another process has held it for so many ``seconds``.
      StorageError: the lock's file cannot be made.
    """
    with storage_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".training.lock", "a+")  # noqa: SIM115
    with file:
        deadline, said = time.monotonic() + seconds, False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                if time.monotonic() > deadline:
                    raise RunError(
                        f"Another process ({holder}) trains in {workdir}: wait for it or end it, or choose another "
                        "--workdir."
                    ) from None
                if not said:
                    print(f"{workdir}: waiting for process {holder}, which still works there", file=sys.stderr)
                said = True
                time.sleep(min(0.2, seconds))
            except OSError:
                break
        with storage_errors(workdir):
            file.truncate(0)
            file.write(f"{os.getpid()} on {os.uname().nodename}\n")
            file.flush()
        yield
