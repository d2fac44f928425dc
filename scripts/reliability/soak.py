"""A thousand videos scored in one process: memory grows by less than 5 %, and nothing is compiled again.

    taskset -c 0 nice -n 10 python scripts/reliability/soak.py --n 1000

The run is the quickstart's, with a tiny network and random weights. The videos differ in length, size, container and
codec, and every tenth is damaged or no video. Memory is that of this process and of its decoding children together, as
it is after a tenth of the videos and at the end; compilations are counted by jax's own events, from then on too.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import jax
import numpy as np
import predict as benchmark
from jax import monitoring

from aqa_jax.data import decode
from aqa_jax.predict.ensemble import make_scorer
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict

PER_CENT = 5.0


def frames(count: int, height: int, width: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """A moving disc: uint8 RGB [height, width, 3]."""
    colour = tuple(int(c) for c in rng.integers(60, 255, 3))
    for i in range(count):
        frame = np.full((height, width, 3), 40, np.uint8)
        decode.cv2.circle(frame, (10 + i % (width - 20), height // 2), 8, colour, -1)
        yield frame


def write_videos(folder: Path, n: int, rng: np.random.Generator) -> int:
    """``n`` files, most of them links to 40 different videos; how many are damaged."""
    different, damaged = folder / "different", 0
    (folder / "in").mkdir()
    different.mkdir()
    paths = []
    for i in range(40):
        count, side = int(rng.integers(10, 200)), 2 * int(rng.integers(24, 160))
        path = different / f"{i}{('.mp4', '.avi')[i % 2]}"
        decode.write_video(path, frames(count, side, side + 32, rng))
        paths.append(path)
    for i in range(n):
        path = paths[i % len(paths)]
        target = folder / "in" / f"{i:06}{path.suffix}"
        if i % 10 == 9:
            data = path.read_bytes()
            target.write_bytes(data[: len(data) // 2] if i % 20 == 9 else rng.bytes(500))
            damaged += 1
        else:
            os.link(path, target)
    return damaged


def resident_mb() -> float:
    """Resident memory of this process and its children."""
    children = {str(os.getpid())}
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if lines["PPid"].strip() in children or lines["Pid"].strip() in children:
            total += int(lines.get("VmRSS", "0 kB").split()[0]) / 1024
    return total


class Watched:
    """A scorer that notes memory and compilations as it goes."""

    def __init__(self, scorer: Any):
        self._scorer = scorer
        self.memory: list[float] = []
        self.compiled: list[int] = []
        self.compilations = 0
        monitoring.register_event_duration_secs_listener(self._hear)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def _hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.compilations += event == "/jax/core/compile/backend_compile_duration"

    def score(self, *arguments: Any, **options: Any) -> Any:
        """As the scorer does."""
        told = self._scorer.score(*arguments, **options)
        self.memory.append(resident_mb())
        self.compiled.append(self.compilations)
        return told


def main() -> int:
    """Runs it."""
    given = common.options(__doc__ or "", 1000).parse_args()
    from configs import quickstart

    values = quickstart.get_config()
    values.model.width = 0.05
    values.model.weights = ""
    values.evaluate.selection = "last"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        damaged = write_videos(folder, given.n, np.random.default_rng(given.seed))
        benchmark.untrained_run(values, folder / "run", frame_size=(40, 40))
        from aqa_jax import config as config_lib

        scorer = Watched(make_scorer(config_lib.resolve(values), folder / "run"))
        started = time.monotonic()
        report = predict(
            find_videos(folder / "in"), scorer, folder / "out", form=scorer.input_format, batch_size=1, threads=1,
            difficulty=3.0 if scorer.needs_difficulty else None, progress=False,
        )  # fmt: skip
        seconds = time.monotonic() - started
    tenth = max(1, len(scorer.memory) // 10)
    early, late = (statistics.median(part) for part in (scorer.memory[tenth : 2 * tenth], scorer.memory[-tenth:]))
    growth = 100 * (late / early - 1)
    again = scorer.compiled[-1] - scorer.compiled[tenth]
    whole = len(report.rows) + len(report.errors) == given.n and len(report.errors) <= damaged
    return common.finish(
        "soak", n=given.n, output=given.output, passed=whole and growth < PER_CENT and not again,
        counts={
            "scored": len(report.rows), "errors": len(report.errors), "damaged files": damaged,
            "growth_percent": round(growth, 2), "compiled_again": again,
        },
        early_mb=round(early), late_mb=round(late), peak_mb=round(max(scorer.memory)),
        memory_mb=[round(m, 1) for m in scorer.memory[:: max(1, len(scorer.memory) // 50)]],
        seconds_a_video=round(seconds / given.n, 3), device=jax.devices()[0].device_kind,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
