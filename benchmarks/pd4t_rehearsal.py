"""PD4T at full size, rehearsed with rendered videos: as many as it has by task, score and split, as long, but tiny.

    python benchmarks/pd4t_rehearsal.py [--part 30] [--out benchmarks/results/pd4t_rehearsal.json]

30 patients, of whom 8 a task are its test split; 19 are tested in some task, so that the tasks together leak. Gait,
hand and leg lie by patient, finger by side. Every task is built by itself, then all of them with leak=exclude, and a
quarter of that; each in a process of its own with two workers, whose memory is read five times a second.
`--part N` takes every N-th video, for a trial.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))

from aqa_jax.data.decode import write_video  # noqa: E402
from aqa_jax.data.video_store import VideoStore  # noqa: E402
from data_builders.pd4t.annotations import TASK_FOLDERS  # noqa: E402
from data_builders.pd4t.severity import PUBLISHED  # noqa: E402

HEIGHT, WIDTH = 24, 32
POINTS = 12  # of the curves of memory over time
# First of the eight test patients of each task, of 30 around a circle: 19 different ones.
FIRST_TEST = {"gait": 0, "finger": 4, "hand": 8, "leg": 11}

BUILD = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from aqa_jax.data.build import build
options = dict(task="{task}", leak="{leak}", check_counts={check}, height={height}, width={width})
path = build("pd4t", data_dir=sys.argv[3], raw_dir=sys.argv[2], options=options, workers=2)
peak = lambda who: round(resource.getrusage(who).ru_maxrss / 1024)
print(path, peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN))
"""


class Video(NamedTuple):
    """One video to render: `name` is its id without the task."""

    task: str
    split: str
    name: str
    path: str  # below Videos/
    frames: int
    score: int


def plan(rng: np.random.Generator) -> list[Video]:
    """All 2931 videos, with the published counts and ranges."""
    videos = []
    for task, table in PUBLISHED.items():
        test = {f"{(FIRST_TEST[task] + i) % 30 + 1:03d}" for i in range(8)}
        of_split = {"test": sorted(test), "train": sorted({f"{n:03d}" for n in range(1, 31)} - test)}
        splits = rng.permutation(["train"] * table["train"] + ["test"] * table["test"])
        lengths = [(s, n) for s in range(5) for n in _lengths(table["videos"][s], table["frames"][s], rng)]
        for number, (split, (score, frames)) in enumerate(zip(splits, lengths, strict=True)):
            patient = rng.choice(of_split[str(split)])
            visit, side = f"{14 + number % 4}-{number:06d}", "lr"[number % 2]
            if task == "gait":
                name, path = f"{visit}_{patient}", f"{patient}/{visit}.mp4"
            else:
                name = f"{visit}_{side}_{patient}"
                path = f"{side}/{visit}.mp4" if task == "finger" else f"{patient}/{visit}_{side}.mp4"
            videos.append(Video(task, str(split), name, f"{TASK_FOLDERS[task]}/{path}", frames, score))
    return videos


def _lengths(count: int, limits: tuple[int, int] | None, rng: np.random.Generator) -> list[int]:
    """The fewest, the most, and between them most near the fewest."""
    if limits is None:
        return []
    low, high = limits
    scale = 0.25 * min(high - low, 1000)
    return [low, high, *(low + int(min(rng.exponential(scale), high - low)) for _ in range(count - 2))]


def _write(task: tuple[str, Video]) -> None:
    """A square that goes round; what is in the pictures matters to nobody here."""
    folder, video = task
    phase = sum(video.name.encode())
    pictures = []
    for step in range(32):
        picture = np.full((HEIGHT, WIDTH, 3), 40 + phase % 100, np.uint8)
        picture[4 + step // 2 : 8 + step // 2, step : step + 5] = 220
        pictures.append(picture)
    path = Path(folder, video.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, (pictures[(phase + number) % 32] for number in range(video.frames)))


def write_raw(raw: Path, videos: list[Video]) -> None:
    """The videos of a plan, with two processes, and their csv files."""
    write_csvs(raw, videos)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write, [(str(raw / "Videos"), video) for video in videos], chunksize=16))


def write_csvs(raw: Path, videos: list[Video]) -> None:
    """Annotations/<task>/<split>.csv."""
    for task, folder in TASK_FOLDERS.items():
        for split in ("train", "test"):
            own = [v for v in videos if (v.task, v.split) == (task, split)]
            path = raw / "Annotations" / folder / f"{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{v.name},{v.frames},{v.score}\n" for v in own))


def _resident(pid: int) -> float:
    """Resident memory of a process in MB; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError):
        return 0.0


def _children(pid: int) -> Iterator[int]:
    try:
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return


def _curve(values: list[float]) -> list[int]:
    """The greatest value of each of `POINTS` equal stretches of time."""
    return [round(float(part.max())) for part in np.array_split(np.array(values), min(POINTS, len(values)))]


def build(name: str, raw: Path, data_dir: str, *, task: str, leak: str, check: bool) -> dict[str, object]:
    """Build in a process of its own while its memory is read; then read the dataset again."""
    code = BUILD.format(task=task, leak=leak, check=check, height=HEIGHT, width=WIDTH)
    start = time.perf_counter()
    command = [sys.executable, "-c", code, str(REPO), str(raw), data_dir]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=said, text=True)
        parent, workers = [], []
        while process.poll() is None:
            parent.append(_resident(process.pid))
            workers.append(max(map(_resident, _children(process.pid)), default=0.0))
            time.sleep(0.2)
        wall = time.perf_counter() - start
        said.seek(0)
        if process.returncode:
            raise SystemExit(said.read())
        assert process.stdout is not None
        path, parent_peak, worker_peak = process.stdout.read().split()
    store = VideoStore.open(path)
    store.verify()
    frames = store.table.column("num_frames")
    np.testing.assert_array_equal(frames, store.table.column("annotated_frames"))
    result = {
        "build": name,
        "videos": {split: len(store.table.rows(split)) for split in ("train", "test")},
        "frames": int(frames.sum()),
        "longest": int(frames.max()),
        "counts_checked": store.metadata["counts_checked"],
        "left_out_for_the_leak": len(store.metadata["traps"]["left_out_for_the_leak"]),
        "patients_in_the_leak": len(store.metadata["traps"]["leak"]),
        "dataset_mb": round(sum(p.stat().st_size for p in Path(path).iterdir()) / 2**20),
        "wall_seconds": round(wall, 1),
        "frames_per_second": round(frames.sum() / wall),
        "parent_peak_mb": int(parent_peak),
        "worker_peak_mb": int(worker_peak),
        "parent_mb_over_time": _curve(parent),
        "worker_mb_over_time": _curve(workers),
    }
    print(json.dumps(result), flush=True)
    return result


def main() -> None:
    """Render, build, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results" / "pd4t_rehearsal.json")
    parser.add_argument("--part", type=int, default=1, help="every N-th video only")
    arguments = parser.parse_args()
    whole = arguments.part == 1
    videos = plan(np.random.default_rng(0))[:: arguments.part]
    longest = max(videos, key=lambda video: video.frames)
    with tempfile.TemporaryDirectory() as folder:
        raw, part = Path(folder, "raw"), Path(folder, "quarter")
        start = time.perf_counter()
        write_raw(raw, videos)
        rendering = time.perf_counter() - start
        print(f"{len(videos)} videos, {sum(v.frames for v in videos)} frames rendered in {rendering:.0f} s", flush=True)
        # The longest stays, and one of every task and split.
        firsts = {(video.task, video.split): video for video in videos}
        write_csvs(part, sorted({*videos[::4], *firsts.values(), longest}))
        (part / "Videos").symlink_to(raw / "Videos")
        rows = [build(task, raw, f"{folder}/data", task=task, leak="refuse", check=whole) for task in TASK_FOLDERS]
        rows.append(build("all", raw, f"{folder}/data", task="all", leak="exclude", check=whole))
        rows.append(build("a quarter of all", part, f"{folder}/part", task="all", leak="exclude", check=False))
    report = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "frame_size": [HEIGHT, WIDTH],
        "videos": len(videos),
        "frames": sum(video.frames for video in videos),
        "rendering_seconds": round(rendering, 1),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
