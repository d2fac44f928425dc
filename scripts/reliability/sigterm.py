"""SIGTERM at random moments of a small quickstart: exit code 143, no step lost, one final hash.

    taskset -c 0 python scripts/reliability/sigterm.py --n 20

As kill.py, with a polite signal from half a second after the start on (before, Python itself is not up).
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import disturbed


def ended(folder: Path, process: subprocess.Popen[bytes], before: set[str], counts: Counter) -> str:
    """Asks ``process`` to end; what is wrong with how it did."""
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    counts["asked"] += 1
    if code == 0:
        # It had nothing left to do but to leave.
        counts["had just finished"] += 1
        return ""
    counts["exit 143"] += code == 143
    counts["slowest end, s"] = max(counts["slowest end, s"], round(time.monotonic() - asked))
    lost = disturbed.last_logged(folder / "run") - disturbed.last_step(folder / "run")
    counts["steps lost"] += max(lost, 0)
    if code != 143:
        return f"exit code {code}"
    return f"{lost} steps lost" if lost > 0 else ""


def main() -> int:
    """Runs it."""
    parser = common.options(__doc__ or "", 20)
    parser.add_argument("--each", type=int, default=10, help="signals a run")
    given = parser.parse_args()
    draw, counts, problems = random.Random(given.seed), Counter[str](), list[str]()
    started, number = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        problems += disturbed.run(root / "whole", 0, draw, counts, ended)
        hashes = {disturbed.final_hash(root / "whole" / "run")}
        while counts["asked"] < given.n and not problems:
            number += 1
            folder = root / f"stopped_{number}"
            problems += disturbed.run(folder, min(given.each, given.n - counts["asked"]), draw, counts, ended)
            if not problems:
                hashes.add(disturbed.final_hash(folder / "run"))
                print(f"{len(hashes)} final hash(es), {dict(counts)}", flush=True)
    # A Counter joined with another would leave out what is 0.
    told = {**counts, "steps lost": counts["steps lost"], "runs": number, "final hashes": len(hashes)}
    return common.finish(
        "sigterm", n=counts["asked"], passed=not problems and len(hashes) == 1, counts=told, output=given.output,
        problems=problems, size=common.SIZE, seed=given.seed, minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
