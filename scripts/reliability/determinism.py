"""What a result depends on: the seed, and nothing else.

    taskset -c 0 python scripts/reliability/determinism.py --n 20

One small quickstart is trained, and again with other numbers of threads, cores and devices, other caches and splits of
the batch. Where nothing in the sums changes the bits must be equal; where a sum is made in another order, losses of the
first six updates (later Adam has amplified the last bits) and predictions of the same weights to 1e-5.
"""

import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import disturbed
import numpy as np

SIZE = common.SIZE | {"train.steps": 12, "train.evaluate_every": 6, "train.checkpoint_every": 0}
UPDATES, TOLERANCE = 6, 1e-5


class Runs:
    """Trainings and evaluations of the small quickstart, in processes of their own."""

    def __init__(self, root: Path):
        self.root = root
        self.base = root / "base"

    def train(self, name: str, *, devices: int = 1, new_data: bool = False, **changes: object) -> Path:
        """A training in a folder of its own, on the base's dataset; its workdir."""
        folder = self.root / name
        folder.mkdir()
        if not new_data:
            changes["data.data_dir"] = self.base / "data"
        self._run(common.command(folder, SIZE, **changes), folder, devices)
        return folder / "run"

    def evaluate(self, name: str, *, devices: int = 1, **changes: object) -> Path:
        """The base's weights evaluated under ``changes``; the folder of the results."""
        folder = self.root / name
        folder.mkdir()
        keys = [f"--config.{key}={value}" for key, value in changes.items()]
        where = ["--workdir", str(self.base / "run"), "--output", str(folder / "evaluation")]
        self._run([sys.executable, str(common.REPO / "run.py"), "--mode", "evaluate", *where, *keys], folder, devices)
        return folder

    def _run(self, arguments: list[str], folder: Path, devices: int) -> None:
        log = folder / "log.txt"
        # Without it a CPU is as many devices as it has cores.
        flags = f"--xla_force_host_platform_device_count={devices}"
        if code := common.start(arguments, log, JAX_PLATFORMS="cpu", XLA_FLAGS=flags).wait():
            raise RuntimeError(f"exit code {code}: {log.read_text()[-2000:]}")

    def same_bits(self, run: Path) -> float:
        """0 if all that ``run`` left is what the base left, else infinity."""
        return 0.0 if disturbed.final_hash(run) == disturbed.final_hash(self.base / "run") else np.inf

    def losses(self, run: Path) -> float:
        """The largest relative difference from the base's losses over the first updates."""
        ours, theirs = (_losses(path)[:UPDATES] for path in (run, self.base / "run"))
        return float(np.max(np.abs(ours / theirs - 1)))

    def predictions(self, run: Path) -> float:
        """The largest relative difference from the base's predictions of the same weights."""
        ours, theirs = (_predictions(path) for path in (run, self.base / "run"))
        return float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-3)))


def _losses(run: Path) -> np.ndarray:
    lines = map(json.loads, (run / "logs" / "train.jsonl").read_text().splitlines())
    return np.array([line["loss"] for line in lines if "loss" in line])


def _predictions(run: Path) -> np.ndarray:
    with (run / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row["mean"]), float(row["raw_sigma"])] for row in rows])


def cases(runs: Runs) -> dict[str, tuple[Callable[[], float], float]]:
    """(difference, what it may be at most) by name."""

    def trained(compare: Callable[[Path], float], name: str, **changes: object) -> Callable[[], float]:
        return lambda: compare(runs.train(name, **changes))  # type: ignore[arg-type]

    def evaluated(name: str, **changes: object) -> Callable[[], float]:
        return lambda: runs.predictions(runs.evaluate(name, **changes))  # type: ignore[arg-type]

    found: dict[str, tuple[Callable[[], float], float]] = {
        "the same again": (trained(runs.same_bits, "again"), 0),
        "the dataset built again": (trained(runs.same_bits, "built", new_data=True), 0),
        "no frames kept in memory": (trained(runs.same_bits, "cache", **{"data.cache_mb": 0}), 0),
        "a checkpoint after every step": (trained(runs.losses, "saves", **{"train.checkpoint_every": 1}), 0),
    }
    for threads in (1, 2, 3, 8):
        name = f"{threads} decoding thread{'s' if threads > 1 else ''}"
        found[name] = (trained(runs.same_bits, f"threads_{threads}", **{"data.threads": threads}), 0)
    for devices in (2, 4):
        found[f"{devices} devices, training"] = (trained(runs.losses, f"devices_{devices}", devices=devices), TOLERANCE)
        found[f"{devices} devices, scoring"] = (evaluated(f"scored_{devices}", devices=devices), TOLERANCE)
    for size in (1, 3, 8, 20):
        found[f"scored in batches of {size}"] = (evaluated(f"batch_{size}", **{"evaluate.batch_size": size}), TOLERANCE)
    found["the batch's clips 2 at a time"] = (trained(runs.losses, "chunk_2", **{"train.clip_chunk": 2}), TOLERANCE)
    found["the batch's clips 8 at a time"] = (trained(runs.losses, "chunk_8", **{"train.clip_chunk": 8}), TOLERANCE)
    found["activations made again"] = (trained(runs.losses, "remat", **{"train.remat": "blocks"}), TOLERANCE)
    # The other way round: this must not be equal.
    found["another seed differs"] = (lambda: -runs.losses(runs.train("seed", seed=1)), -1e-3)
    return found


def main() -> int:
    """Runs it."""
    given = common.options(__doc__ or "", 20).parse_args()
    started, found, problems = time.monotonic(), dict[str, float](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        runs = Runs(Path(temporary))
        runs.train("base", new_data=True)
        chosen = dict(list(cases(runs).items())[: given.n])
        for name, (difference, limit) in chosen.items():
            found[name] = difference()
            if not found[name] <= limit:
                problems.append(name)
            print(f"{name}: {found[name]:.2g} (at most {limit:g})", flush=True)
    exact = [name for name, (_, limit) in chosen.items() if limit == 0]
    counts = {
        "equal to the bit": sum(found[name] == 0 for name in exact), "of": len(exact),
        "largest difference else": max((found[name] for name in found if name not in exact), default=0.0),
    }  # fmt: skip
    return common.finish(
        "determinism", n=len(found), passed=not problems, counts=counts, output=given.output, problems=problems,
        differences={name: value if np.isfinite(value) else "other bits" for name, value in found.items()}, size=SIZE,
        updates=UPDATES, minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
