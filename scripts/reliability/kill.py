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


def killed_run(folder: Path, kills: int, draw: random.Random, counts: Counter) -> list[str]:
    """Kills the run in ``folder`` so many times, then lets it finish; what went wrong."""
    log = folder / "log.txt"
    folder.mkdir(parents=True)
    done = 0
    while True:
        process = common.start(common.command(folder), log)
        if done < kills:
            # Only a fresh folder has a build, so most kills there are in it.
            phase = "build" if not (folder / "run" / "checkpoints").exists() and draw.random() < 0.6 else None
            phase = phase or draw.choice(
                ("start-up", "step", "evaluation", "save", "save", "final evaluation", "any time")
            )
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
        if code := process.wait():
            return [f"{folder.name}: exit code {code} after {done} kills: {log.read_text()[-1500:]}"]
        if done >= kills:
            return []
        # It finished before the moment came: what is left is the evaluation, again and again.
        counts["finished before it was killed"] += 1
        kills = done


def main() -> int:
    """Runs it."""
    parser = common.options(__doc__ or "", 100)
    parser.add_argument("--each", type=int, default=12, help="kills a run")
    parser.add_argument("--folder", default="", help="keep everything here")
    given = parser.parse_args()
    draw, counts, problems = random.Random(given.seed), Counter[str](), list[str]()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(given.folder or temporary).absolute()
        problems += killed_run(root / "whole", 0, draw, counts)
        expected = disturbed.final_hash(root / "whole" / "run")
        hashes = Counter({expected: 1})
        number = 0
        while counts["killed"] < given.n and not problems:
            number += 1
            folder = root / f"killed_{number}"
            problems += killed_run(folder, min(given.each, given.n - counts["killed"]), draw, counts)
            if not problems:
                hashes[disturbed.final_hash(folder / "run")] += 1
                print(f"{counts['killed']} kills, {len(hashes)} final hash(es), {dict(counts)}", flush=True)
    enough = counts["died in a save"] + counts["died in a build"] >= given.n // 5
    counts["runs"], counts["final hashes"] = number, len(hashes)
    return common.finish(
        "kill", n=counts["killed"], passed=not problems and len(hashes) == 1 and enough, counts=counts,
        output=given.output, problems=problems, size=common.SIZE, seed=given.seed,
        minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
