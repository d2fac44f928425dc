"""Damage to a run's checkpoints: nothing is loaded but what was written, and the next whole step takes the place.

    taskset -c 0 python scripts/reliability/checkpoints.py --n 1000

Trains one small run, then harms a copy of its checkpoints each time (a bit, a cut, a file, a part or a whole step gone,
a stretch of zeros), goes on from it as a training does, and restores the step that the selection rule chooses as
predict does. Whenever the harmed step is still loaded, and in one of ten of the other cases, every restored array is
compared with the undamaged step's.
"""

import contextlib
import hashlib
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import common

KINDS = ("bit", "cut", "file", "part", "step", "zeros")


def damage(step: Path, kind: str, draw: random.Random) -> str:
    """Harms the checkpoint in ``step``; what was harmed."""
    if kind == "step":
        shutil.rmtree(step)
        step.mkdir()
        return "all"
    if kind == "part":
        part = draw.choice(sorted(path for path in step.iterdir() if path.is_dir()))
        shutil.rmtree(part)
        return part.name
    file = draw.choice(sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size))
    content = bytearray(file.read_bytes())
    file.unlink()  # The copy is made of links.
    place = draw.randrange(len(content))
    if kind == "bit":
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del content[place:]
    elif kind == "zeros":
        end = min(place + 1 + draw.randrange(512), len(content))
        if not any(content[place:end]):
            content[place] = 1
        content[place:end] = bytes(end - place) if any(content[place:end]) else b"\1" * (end - place)
    if kind != "file":
        file.write_bytes(content)
    return str(file.relative_to(step))


def fingerprint(arrays: Any) -> str:
    """sha256 of all arrays in a tree."""
    import jax

    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        total.update(jax.tree_util.keystr(path).encode() + bytes(jax.device_get(leaf)))
    return total.hexdigest()


def case(whole: Path, folder: Path, draw: random.Random, like: Any, iterator: Any, expected: dict[int, Any]) -> Counter:
    """Harms a copy of ``whole`` in ``folder`` and restores from it; what came of it.

    ``expected`` has (fingerprint of the state, of state and optimizer, progress) by step.
    """
    from aqa_jax.errors import AqaError
    from aqa_jax.train.checkpoints import TRAINING, Checkpoints
    from aqa_jax.train.chosen import choose, history_of
    from aqa_jax.train.manifest import UNLISTED

    counts: Counter[str] = Counter()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder / "checkpoints", copy_function=os.link)
    steps = sorted(expected)
    step, kind = draw.choice(steps), draw.choice(KINDS)
    harmed = damage(folder / "checkpoints" / str(step), kind, draw)
    checkpoints = Checkpoints(folder / "checkpoints")
    noticed = bool(checkpoints.faults(step))
    counts[kind] += 1
    counts["noticed"] += noticed
    # Orbax's note and times: nothing of them is restored.
    harmless = harmed in UNLISTED
    counts["harmless"] += harmless and not noticed
    counts["not noticed"] += not noticed and not harmless
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            # Another step's files are links to undamaged ones: restoring them each time would tell nothing new.
            everything = draw.random() < 0.1
            chosen = choose(checkpoints, history_of(checkpoints), "best_on_validation", "rho")
            if everything or chosen.step == step:
                state = checkpoints.restore_state(chosen.step, like)
                counts["silent loads"] += fingerprint(state) != expected[chosen.step][0]
                counts["restored"] += 1
            going_on = Checkpoints(folder / "checkpoints")
            at = going_on.newest_whole(*TRAINING)
            if everything or at == step:
                resumed = Checkpoints(folder / "checkpoints").resume(like, iterator)
                assert resumed is not None and int(resumed[0]["step"]) == at
                counts["silent loads"] += (fingerprint(resumed[0]), resumed[1]) != expected[at][1:]
                counts["restored"] += 1
        right = steps[-2] if noticed and step == steps[-1] else steps[-1]
        counts["fell back"] += at != steps[-1]
        counts["wrong step"] += at != right
        counts["passed over without a word"] += (
            at != steps[-1] and f"step {steps[-1]} is passed over" not in said.getvalue()
        )
        counts["another step chosen, recorded"] += bool(chosen.passed_over)
    except AqaError as error:
        counts["typed errors"] += 1
        print(f"{kind} of {harmed}: {error}")
    except Exception as error:
        counts["other errors"] += 1
        print(f"{kind} of {harmed}: {type(error).__name__}: {error}")
    return counts


def undamaged(whole: Path, like: Any, iterator: Any) -> dict[int, Any]:
    """What :func:`case` expects of each step."""
    from aqa_jax.train.checkpoints import Checkpoints

    checkpoints, expected = Checkpoints(whole), {}
    for step in checkpoints.steps():
        state = fingerprint(checkpoints.restore_state(step, like))
        restored, progress = checkpoints.restore(step, like, iterator)
        expected[step] = (state, fingerprint(restored), progress)
    return expected


BAD = ("silent loads", "not noticed", "wrong step", "passed over without a word", "typed errors", "other errors")
"""Counts that have to stay 0: with one step harmed, another one can always be used."""


def main() -> int:
    """Runs it."""
    given = common.options(__doc__ or "", 1000).parse_args()
    from absl import flags, logging

    from aqa_jax import config as config_lib
    from aqa_jax.train import state as states
    from aqa_jax.train.loop import lengths
    from aqa_jax.train.optimizer import make_optimizer
    from aqa_jax.train.run import Run

    flags.FLAGS.mark_as_parsed()
    logging.set_verbosity(logging.ERROR)
    draw, counts, started = random.Random(given.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if common.start(common.command(folder), folder / "log.txt").wait():
            sys.exit((folder / "log.txt").read_text()[-2000:])
        run = Run(config_lib.resolve(config_lib.read_json(folder / "run" / "config.json")))
        like = states.abstract_start(run.assembler.abstract, make_optimizer(run.config.optimizer, lengths(run)[0]))
        whole, iterator = folder / "run" / "checkpoints", run.batches_for_training()
        expected = undamaged(whole, like, iterator)
        size = {"steps": sorted(expected), "files a step": len(list((whole / str(max(expected))).rglob("*")))}
        for number in range(given.n):
            counts += case(whole, folder / "harmed", draw, like, iterator, expected)
            if number % 100 == 99:
                print(number + 1, dict(counts), flush=True)
    bad = {name: counts[name] for name in BAD}
    return common.finish(
        "checkpoints", n=given.n, passed=not any(bad.values()), counts={**counts, **bad}, output=given.output,
        size=size, seed=given.seed, minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
