"""A run that is disturbed at a chosen moment, and what it came to in the end."""

import hashlib
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import common

Moment = Callable[[], bool]
"""Whether it has come."""

Disturb = Callable[[Path, "subprocess.Popen[bytes]", set[str], Counter], str]
"""(folder, process, checkpoints half written before, counts) -> what is wrong."""


def run(
    folder: Path, times: int, draw: random.Random, counts: Counter, disturb: Disturb, *, deadline: float = float("inf")
) -> list[str]:
    """Disturbs the run in ``folder`` so many times, each time starting it again, then lets it finish.

    Args:
      folder: made here; its data and workdir.
      times: how often; less if it finishes before, or the ``deadline`` (of the monotonic clock) comes.
      draw: where phases and moments come from.
      counts: what is counted goes here.
      disturb: ends the process; what is wrong with how it ended, or nothing.

    Returns:
      What went wrong.
    """
    log, done = folder / "log.txt", 0
    folder.mkdir(parents=True)
    while True:
        process = common.start(common.command(folder), log)
        if done < times and time.monotonic() < deadline:
            phase = _phase(folder, done, times, draw)
            before = saving(folder / "run")
            come, pause = moment(phase, folder, draw)
            if wait(come, pause, process):
                if problem := disturb(folder, process, before, counts):
                    return [f"{folder.name}, {phase}: {problem}: {log.read_text()[-1500:]}"]
                counts[f"aimed at: {phase}"] += 1
                done += 1
                continue
            times = done  # It finished before the moment came.
        if code := process.wait():
            return [f"{folder.name}: exit code {code}, disturbed {done} times: {log.read_text()[-1500:]}"]
        return []


def _phase(folder: Path, done: int, times: int, draw: random.Random) -> str:
    """Builds first, the final evaluation last, and at random between."""
    if done < 3 and not any((folder / "data").rglob("dataset_info.json")):
        return "build"
    if last_step(folder / "run") == int(common.SIZE["train.steps"]):
        return draw.choice(("start-up", "final evaluation"))
    if done >= times - 2:
        return "final evaluation"
    return draw.choice(("start-up", "save", "save", "save", "step", "evaluation", "any time"))


def moment(phase: str, folder: Path, draw: random.Random) -> tuple[Moment, float]:
    """When a phase of the run in ``folder`` has come, and a random pause (seconds) after that.

    ``phase`` is start-up, build, step, evaluation, save, final evaluation, or any time.
    """
    workdir, begun = folder / "run", time.monotonic()
    last, every = int(common.SIZE["train.steps"]), int(common.SIZE["train.evaluate_every"])
    logged, there = len(_steps(workdir)), saving(workdir)
    if phase == "build":
        return lambda: any((folder / "data").rglob("incomplete*")), draw.uniform(0, 2)
    if phase == "step":
        return lambda: len(_steps(workdir)) != logged and bool(_steps(workdir)), draw.uniform(0, 0.4)
    if phase == "evaluation":
        return (
            lambda: len(_steps(workdir)) != logged and bool(_steps(workdir)) and _steps(workdir)[-1] % every == 0,
            draw.uniform(0, 0.3),
        )
    if phase == "save":
        return lambda: bool(saving(workdir) - there), draw.uniform(0, 0.03)
    if phase == "final evaluation":
        return (workdir / "checkpoints" / str(last)).is_dir, draw.uniform(0, 5)
    # Nothing tells these but the clock.
    pause = draw.uniform(0.5, 4 if phase == "start-up" else 25)
    return lambda: time.monotonic() - begun >= pause, 0.0


def wait(come: Moment, pause: float, process: subprocess.Popen[bytes], seconds: float = 400) -> bool:
    """Waits until the moment has come and ``pause`` is over; False if the process ended by itself."""
    deadline = time.monotonic() + seconds
    while not come():
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {process.pid} did not come to the moment in {seconds} s")
        time.sleep(0.001)
    time.sleep(pause)
    return process.poll() is None


def saving(run: Path) -> set[str]:
    """The checkpoints that are being written, or were when somebody died."""
    return {path.name for path in (run / "checkpoints").glob("*orbax-checkpoint-tmp*")}


def building(folder: Path) -> bool:
    """Whether a build is under way, or was when somebody died."""
    return any((folder / "data").rglob("incomplete*"))


def _steps(run: Path) -> list[int]:
    return [line["step"] for line in _lines(run / "logs" / "train.jsonl") if "loss" in line]


def _lines(path: Path) -> Iterator[dict]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def last_step(run: Path) -> int:
    """The newest finished checkpoint's step; 0 if there is none."""
    return max((int(path.name) for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit()), default=0)


def last_logged(run: Path) -> int:
    """The newest step in the log; 0 if there is none."""
    return max(_steps(run), default=0)


def final_hash(run: Path) -> str:
    """sha256 of all that a finished run is, times left out.

    Parameters, optimizer and step, the input's position, evaluations, the steps that were kept, losses, metrics,
    predictions and what predict applies.
    """
    import jax
    import orbax.checkpoint as ocp

    total, step = hashlib.sha256(), last_step(run)
    folder = run / "checkpoints" / str(step)
    for part in ("state", "optimizer"):
        with ocp.StandardCheckpointer() as reader:
            leaves = jax.tree_util.tree_leaves_with_path(reader.restore(folder.absolute() / part))
        for path, leaf in leaves:
            total.update(
                f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode() + bytes(jax.device_get(leaf))
            )
    for file in (*sorted((folder / "data").glob("process_*")), folder / "progress" / "metadata"):
        total.update(file.read_bytes())
    kept = sorted(int(path.name) for path in (run / "checkpoints").glob("[0-9]*"))
    timed = ("step_seconds", "data_wait", "compile_seconds", "from_cache")
    log = [{k: v for k, v in line.items() if k not in timed} for line in _lines(run / "logs" / "train.jsonl")]
    log = [line for line in log if line["kind"] != "compile"]
    total.update(json.dumps([kept, log]).encode())
    for name in ("evaluation/metrics.json", "evaluation/predictions.csv", "evaluation/recalibration.json"):
        total.update((run / name).read_bytes())
    total.update((run / "trained_on.json").read_bytes())
    return total.hexdigest()
