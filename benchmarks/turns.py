"""One library's share of benchmarks/against_torch.py: a process of its own, set up as its users have it."""

import os
import subprocess
import sys
from pathlib import Path

from aqa_jax import allocation

SCRIPT = Path(__file__).with_name("against_torch.py")
OURS = "ours"
# torch with the allocation that run.py asks for.
ALLOCATED = "_our_allocation"


def command(kind: str, text: str, mode: str, threads: int) -> list[str]:
    """What starts a child of the script: ``kind`` is ours or a layout of torch's."""
    layout = kind.removesuffix(ALLOCATED)
    return [
        sys.executable, str(SCRIPT), "--child", layout, "--sizes", text, "--modes", mode, "--threads", str(threads)
    ]  # fmt: skip


def environment(kind: str) -> dict[str, str]:
    """Ours as run.py starts itself, and so torch's if its kind ends with :data:`ALLOCATED`; else torch as it comes."""
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    return allocation.environment(plain) or plain if kind == OURS or kind.endswith(ALLOCATED) else plain


class Turns:
    """A process that runs one mode of one size in one library whenever it is asked to."""

    def __init__(self, kind: str, text: str, mode: str, threads: int):
        """Starts it."""
        self._process = subprocess.Popen(
            [*command(kind, text, mode, threads), "--turns"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(kind),
        )  # fmt: skip

    def __call__(self) -> None:
        """One call in that process, to its end."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("call\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            sys.exit(f"{self._process.args} failed")

    def __enter__(self) -> "Turns":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
