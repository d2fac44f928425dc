"""SIGKILL at random moments of a small quickstart, from start-up to the final evaluation: one final hash.

    taskset -c 0 python scripts/reliability/kill.py --n 100

A run is killed ``--each`` times, every time in a phase drawn at random, and started again with the same command; then
it may finish. All that it leaves has to be equal, to the bit, to what an undisturbed run leaves.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import disturbed


def died(folder: Path, process: subprocess.Popen[bytes], before: set[str], counts: Counter) -> str:
    """Kills ``process`` and counts where it died."""
    process.kill()
    process.wait()
    counts["killed"] += 1
    counts["died in a save"] += bool(disturbed.saving(folder / "run") - before)
    counts["died in a build"] += disturbed.building(folder)
    return ""


def main() -> int:
    """Runs it."""
    parser = common.options(__doc__ or "", 100)
    parser.add_argument("--each", type=int, default=12, help="kills a run")
    parser.add_argument("--minutes", type=float, default=1e9, help="kill no more after this time")
    parser.add_argument("--folder", default="", help="keep everything here")
    given = parser.parse_args()
    draw, counts, problems = random.Random(given.seed), Counter[str](), list[str]()
    started = time.monotonic()
    deadline = started + 60 * given.minutes
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(given.folder or temporary).absolute()
        problems += disturbed.run(root / "whole", 0, draw, counts, died)
        expected = disturbed.final_hash(root / "whole" / "run")
        hashes = Counter({expected: 1})
        number = 0
        while counts["killed"] < given.n and not problems and time.monotonic() < deadline:
            number += 1
            folder = root / f"killed_{number}"
            problems += disturbed.run(
                folder, min(given.each, given.n - counts["killed"]), draw, counts, died, deadline=deadline
            )
            if not problems:
                hashes[disturbed.final_hash(folder / "run")] += 1
                print(f"{counts['killed']} kills, {len(hashes)} final hash(es), {dict(counts)}", flush=True)
    enough = counts["died in a save"] + counts["died in a build"] >= counts["killed"] // 5
    counts["runs"], counts["final hashes"] = number, len(hashes)
    return common.finish(
        "kill", n=counts["killed"], passed=not problems and len(hashes) == 1 and enough, counts=counts,
        output=given.output, problems=problems, size=common.SIZE, seed=given.seed,
        minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
