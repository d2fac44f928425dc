"""SIGKILL at random moments of a small quickstart, from start-up to the final evaluation: one final hash.

    taskset -c 0 python scripts/reliability/kill.py --n 100

A run is killed ``--each`` times, every time in a phase drawn at random, and started again with the same command; then
it may finish. All that it leaves has to be equal, to the bit, to what an undisturbed run leaves.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import disturbed


def killed_run(folder: Path, kills: int, draw: random.Random, counts: Counter, deadline: float) -> list[str]:
    """Kills the run in ``folder`` so many times, then lets it finish; what went wrong."""
    log = folder / "log.txt"
    folder.mkdir(parents=True)
    done = 0
    while True:
        process = common.start(common.command(folder), log)
        if done < kills and time.monotonic() < deadline:
            phase = _phase(folder, done, kills, draw)
            before = disturbed.saving(folder / "run")
            come, pause = disturbed.moment(phase, folder, draw)
            if disturbed.wait(come, pause, process):
                process.kill()
                process.wait()
                done += 1
                counts["killed"] += 1
                counts[f"aimed at: {phase}"] += 1
                counts["died in a save"] += bool(disturbed.saving(folder / "run") - before)
                counts["died in a build"] += disturbed.building(folder)
                continue
            kills = done  # It finished before the moment came.
        if code := process.wait():
            return [f"{folder.name}: exit code {code} after {done} kills: {log.read_text()[-1500:]}"]
        return []


def _phase(folder: Path, done: int, kills: int, draw: random.Random) -> str:
    """Builds first, the final evaluation last, and at random between."""
    if done < 3 and disturbed.last_step(folder / "run") == 0:
        return "build"
    if disturbed.last_step(folder / "run") == int(common.SIZE["train.steps"]):
        return draw.choice(("start-up", "final evaluation"))
    if done >= kills - 2:
        return "final evaluation"
    return draw.choice(("start-up", "save", "save", "save", "step", "evaluation", "any time"))


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
        problems += killed_run(root / "whole", 0, draw, counts, deadline)
        expected = disturbed.final_hash(root / "whole" / "run")
        hashes = Counter({expected: 1})
        number = 0
        while counts["killed"] < given.n and not problems and time.monotonic() < deadline:
            number += 1
            folder = root / f"killed_{number}"
            problems += killed_run(folder, min(given.each, given.n - counts["killed"]), draw, counts, deadline)
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
