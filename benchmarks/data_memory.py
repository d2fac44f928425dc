"""Peak memory of building, reading and batching datasets of few and many, short and long videos.

    python benchmarks/data_memory.py [--out benchmarks/results/data_memory.json]

Every figure comes from a process of its own. 13,428 frames is the longest video of the PD4T dataset.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[1]
CASES = [(4, 120), (64, 120), (1, 13428)]

BUILD = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from aqa_jax.data.build import build
options = dict(videos={videos}, frames={frames})
path = build("benchmarks/long_videos", data_dir=sys.argv[2], options=options, workers=2)
peak = lambda who: round(resource.getrusage(who).ru_maxrss / 1024)
print(path, peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN))
"""
READ = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from aqa_jax.data.video_store import VideoStore
store = VideoStore.open(sys.argv[2])
rng = np.random.default_rng(0)
lengths = store.table.column("num_frames")
for _ in range(200):
    row = rng.integers(len(lengths))
    store.read(row, rng.integers(lengths[row] - 102) + np.arange(103))
print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""
BATCH = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from absl import flags
flags.FLAGS.mark_as_parsed()
from aqa_jax.data.pipeline import train_iterator
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.data.video_store import VideoStore
store = VideoStore.open(sys.argv[2])
rows = store.table.rows("train")
batches = train_iterator(store, rows, ClipWindow(), columns=("score",), batch_size=8, seed=0, crop_size=224)
for _ in range(8):
    next(batches)
print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


def run(code: str, argument: str) -> list[str]:
    """What the Python program ``code`` prints, word by word; its arguments are the repository and ``argument``."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(REPO), argument],
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


def main() -> None:
    """Measure all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results" / "data_memory.json")
    out = parser.parse_args().out
    rows = []
    for videos, frames in CASES:
        with tempfile.TemporaryDirectory() as data_dir:
            path, parent, worker = run(BUILD.format(videos=videos, frames=frames), data_dir)
            rows.append(
                {
                    "videos": videos,
                    "frames_each": frames,
                    "dataset_mb": round(sum(p.stat().st_size for p in Path(path).iterdir()) / 2**20),
                    "build_parent_peak_mb": int(parent),
                    "build_worker_peak_mb": int(worker),
                    "read_103_frames_200_times_peak_mb": int(run(READ, path)[0]),
                    "batches_8x10x16x224_peak_mb": int(run(BATCH, path)[0]),
                }
            )
            print(rows[-1], flush=True)
    report = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "rows": rows}
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
