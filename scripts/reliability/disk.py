"""A disk that is full, read-only, failing or gone, while a small quickstart builds, saves, logs and reports.

    taskset -c 0 python scripts/reliability/disk.py --n 12      # as root: it mounts disks in memory

Every case has to end soon, with exit code 1 and a typed error. Then the disk is mended, the same command runs again,
and what it leaves has to be equal, to the bit, to what an undisturbed run leaves.
"""

import contextlib
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import disturbed

SIZE = common.SIZE | {"train.steps": 12, "train.evaluate_every": 6, "train.checkpoint_every": 3}
SECONDS = 400  # after which a run counts as hanging

# Python reads this file at its start: every fsync of a file with this in its path fails, after so many.
FAULT = """
import errno, os
number, name, left = os.environ["FAULT_ERRNO"], os.environ["FAULT_IN"], [int(os.environ["FAULT_AFTER"])]
original = os.fsync
def fsync(fd):
    if name in os.readlink(f"/proc/self/fd/{fd}"):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))
    return original(fd)
os.fsync = fsync
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """What goes wrong, and when.

    Attributes:
      name: in words.
      what: full, read-only, vanished, or the name of an errno that fsync answers with.
      when: what must be in the folder before; nothing: from the start.
      where: fsync fails for files with this in their path.
      after: so many of these do not fail.
      leave: bytes that a full disk has left.
      build: the dataset is built in this run.
    """

    name: str
    what: str
    when: str = ""
    where: str = ""
    after: int = 0
    leave: int = 0
    build: bool = False


CASES = (
    Case("full in the build", "full", when="data", leave=200_000, build=True),
    Case("full at the start", "full"),
    Case("full in the training", "full", when="run/checkpoints/3"),
    Case("all but full in the training", "full", when="run/checkpoints/3", leave=300_000),
    Case("full in the evaluation", "full", when="run/checkpoints/12"),
    Case("read-only at the start", "read-only"),
    Case("EROFS in a save", "EROFS", where="/checkpoints/", after=60),
    Case("EIO in a save", "EIO", where="/checkpoints/", after=60),
    Case("EIO in the report", "EIO", where="/evaluation/"),
    Case("quota used up in the report", "EDQUOT", where="predictions"),
    Case("workdir vanished in the training", "vanished", when="run/checkpoints/3"),
    Case("ESTALE in the config", "ESTALE", where="config"),
)


def mount(options: str, path: Path) -> None:
    """A disk in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)


def strike(case: Case, folder: Path) -> None:
    """Lets the fault happen to the disk that is ``folder``."""
    if case.what == "full":
        free = shutil.disk_usage(folder).free
        with contextlib.suppress(OSError), open(folder / "filler", "wb") as file:
            file.write(bytes(max(free - case.leave, 0)))
    elif case.what == "read-only":
        mount("remount,ro", folder)
    elif case.what == "vanished":
        (folder / "run").rename(folder / "run_elsewhere")


def mend(case: Case, folder: Path) -> None:
    """Takes the fault back."""
    if case.what == "read-only":
        mount("remount,rw", folder)
    (folder / "filler").unlink(missing_ok=True)
    if case.what == "vanished":
        shutil.rmtree(folder / "run", ignore_errors=True)
        (folder / "run_elsewhere").rename(folder / "run")


def said(log: Path) -> str:
    """The last line but those of the progress bars; the one with the error's type, where there is one."""
    lines = [line.strip() for line in log.read_text().replace("\r", "\n").splitlines() if line.strip()]
    typed = [line for line in lines if line.partition(":")[0].endswith("Error") and " " not in line.partition(":")[0]]
    return (typed or lines or [""])[-1]


def tried(case: Case, root: Path, data: Path, expected: str, counts: Counter) -> str:
    """Runs one case; what is wrong, or nothing."""
    folder, log = root / "disk", root / "log.txt"
    folder.mkdir()
    log.write_text("")
    mount("size=100m", folder)
    try:
        if not case.build:
            shutil.copytree(data, folder / "data")
        (root / "sitecustomize.py").write_text(FAULT)
        broken = (
            {"FAULT_ERRNO": case.what, "FAULT_IN": case.where, "FAULT_AFTER": str(case.after)} if case.where else {}
        )
        if broken:
            broken["PYTHONPATH"] = f"{root}:{common.REPO}"
        if not case.when:
            strike(case, folder)
        process = common.start(common.command(folder, SIZE), log, **broken)
        if case.when:
            if not disturbed.wait((folder / case.when).exists, 0, process):
                return f"it ended before {case.when} was there"
            strike(case, folder)
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            counts["hung"] += 1
            return "it hangs"
        error = said(log)
        print(f"{case.name}: exit code {code}: {error[:230]}", flush=True)
        typed = code == 1 and error.partition(":")[0] in ("StorageError", "DataError", "CheckpointError", "RunError")
        counts["typed error, exit code 1"] += typed
        mend(case, folder)
        if code := common.start(common.command(folder, SIZE), log).wait():
            return f"afterwards it ends with {code}: {log.read_text()[-1200:]}"
        same = disturbed.final_hash(folder / "run") == expected
        counts["mended: the same final hash"] += same
        return "" if typed and same else f"typed: {typed}, same: {same}: {log.read_text()[-1200:]}"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


def main() -> int:
    """Runs it."""
    given = common.options(__doc__ or "", len(CASES)).parse_args()
    counts, problems, started = Counter[str](), list[str](), time.monotonic()
    cases = CASES[: given.n]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "whole").mkdir()
        if common.start(common.command(root / "whole", SIZE), root / "log.txt").wait():
            sys.exit((root / "log.txt").read_text()[-2000:])
        expected = disturbed.final_hash(root / "whole" / "run")
        for case in cases:
            if problem := tried(case, root, root / "whole" / "data", expected, counts):
                problems.append(f"{case.name}: {problem}")
                print(problems[-1], flush=True)
    return common.finish(
        "disk", n=len(cases), passed=not problems, counts=counts, output=given.output, problems=problems,
        cases=[case.name for case in cases], size=SIZE, minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
