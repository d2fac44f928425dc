"""How training scales: with devices, with processes, and with the number of videos.

    python benchmarks/scaling.py [--only devices processes videos] [--out benchmarks/results/scaling.json]

devices, processes: the same batch (DAE, width .25, 16 clips of 16 frames at 64 px, all parameters) shared by 1, 2 and 4
devices of one process, and by 1 and 2 processes of one device each. Where there are fewer accelerators than that, the
devices are virtual CPU devices, which share this machine's cores: one device alone keeps all cores busy, so nothing can
get faster. What the figures then show is what sharing costs (the step's parts, the all-reduce, the processes' messages)
and that the losses stay the same; they say nothing about the speed of several GPUs.

videos: datasets of 4, 40 and 400 videos of 104 frames at 256x455: build time and peak memory, and reading batches of 4
videos x 10 clips x 16 frames at 224 px, in random order and without a cache of frames. Every figure is of a process of
its own. (benchmarks/data_memory.py has long videos too.)
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data_memory
import report

CLIPS, FRAMES, SIDE, WIDTH = 16, 16, 64, 0.25
STEPS, WARM = 8, 2
VIDEOS, VIDEO_FRAMES, BATCH, BATCHES = (4, 40, 400), 104, 4, 20

READ = """
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from absl import flags
flags.FLAGS.mark_as_parsed()
from aqa_jax.data.pipeline import train_iterator
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.data.video_store import VideoStore
started = time.perf_counter()
store = VideoStore.open(sys.argv[2])
rows, window = store.table.rows("train"), ClipWindow(max_shift=0)
batches = train_iterator(store, rows, window, columns=("score",), batch_size={batch}, seed=0, crop_size=224)
next(batches)
first, started = time.perf_counter() - started, time.perf_counter()
for _ in range({batches}):
    next(batches)
seconds = time.perf_counter() - started
print({batch} * {batches} * 10 / seconds, first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def worker(arguments: list[str]) -> None:
    """A process of a case: trains on random clips and prints its figures."""
    processes, process, address = int(arguments[0]), int(arguments[1]), arguments[2]
    from aqa_jax import compilation

    compilation.prepare()
    import jax
    import numpy as np

    if processes > 1:
        jax.distributed.initialize(address, processes, process)
    from aqa_jax import config as config_lib
    from aqa_jax.train import state as states
    from aqa_jax.train.optimizer import make_optimizer
    from aqa_jax.train.run import Run
    from aqa_jax.train.step import make_train_step, shard

    config = config_lib.default_config()
    config.data.window, config.data.clip_length, config.data.clip_starts = FRAMES, FRAMES, (0,)
    config.data.crop, config.data.max_shift = SIDE, 0
    config.model.width, config.train.batch_size = WIDTH, CLIPS
    run = Run(config_lib.resolve(config))
    optimizer = make_optimizer(run.config.optimizer, 1000)
    state = states.replicated(states.start(run.assembler.init(), optimizer))
    step = make_train_step(run.task, run.assembler, optimizer, 1000, 0)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (CLIPS, *run.batch_shape), np.uint8)
    score = rng.uniform(20, 90, CLIPS).astype(np.float32)
    # The k-th batches of all processes together are one process's k-th batch.
    own = {"video": video[process::processes], "score": score[process::processes]}
    batch = shard(own | {"row": np.arange(CLIPS, dtype=np.int32)[process::processes]}, jax.local_device_count())
    seconds, losses = [], []
    for _ in range(WARM + STEPS):
        started = time.perf_counter()
        state, figures = step(state, batch)
        losses.append(float(jax.device_get(figures["loss"])))
        seconds.append(time.perf_counter() - started)
    compile_seconds, steps = seconds[0], sorted(seconds[WARM:])
    print(
        json.dumps(
            {
                "devices": jax.device_count(),
                "platform": jax.default_backend(),
                "step_seconds": steps[len(steps) // 2],
                "first_step_seconds": compile_seconds,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "losses": losses,
            }
        )
    )


def shared(processes: int, devices: int) -> dict[str, Any]:
    """The same batch on ``devices`` devices in each of some processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--worker", str(processes)]
    started = [
        subprocess.Popen([*command, str(i), address], env=environment, stdout=subprocess.PIPE, text=True)
        for i in range(processes)
    ]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"a process of {processes} with {devices} devices failed")
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    row = {"processes": processes, "devices_each": devices, **found[0]}
    row["peak_mb"] = max(one["peak_mb"] for one in found)
    return row | {"clips_per_second": CLIPS / row["step_seconds"]}


def beside_the_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their time and the largest difference of their first losses, relative to the first row's.

    Of the first ones: later, Adam has amplified the last bits of the sums.
    """
    first = rows[0]["losses"]
    for row in rows:
        row["time_of_the_first"] = row["step_seconds"] / rows[0]["step_seconds"]
        differences = [abs(a - b) / abs(b) for a, b in zip(row.pop("losses"), first, strict=True)]
        row["largest_difference_of_three_losses"] = max(differences[:3])
        print(report.rounded(row), flush=True)
    return rows


def of_size(videos: int) -> dict[str, Any]:
    """Builds and reads a dataset of that many videos."""
    with tempfile.TemporaryDirectory() as data_dir:
        started = time.perf_counter()
        path, parent, builder = data_memory.run(data_memory.BUILD.format(videos=videos, frames=VIDEO_FRAMES), data_dir)
        building = time.perf_counter() - started
        size = sum(p.stat().st_size for p in Path(path).iterdir()) / 2**20
        speed, first, peak = map(float, data_memory.run(READ.format(batch=BATCH, batches=BATCHES), path))
    row = {
        "videos": videos, "dataset_mb": size, "build_seconds": building, "build_parent_peak_mb": int(parent),
        "build_worker_peak_mb": int(builder), "clips_per_second": speed, "first_batch_seconds": first,
        "reading_peak_mb": peak,
    }  # fmt: skip
    print(report.rounded(row), flush=True)
    return row


def main() -> None:
    """Measure what is asked for, and write it beside what was there."""
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("devices", "processes", "videos")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--out", default="scaling")
    arguments = parser.parse_args()
    content = report.read(arguments.out)
    content["step"] = f"{CLIPS} clips of {FRAMES} frames at {SIDE} px, width {WIDTH}, all parameters, float32"
    content["devices_are"] = "virtual CPU devices that share the machine's cores: the cost of sharing, not a gain"
    if "devices" in arguments.only:
        content["devices"] = beside_the_first([shared(1, devices) for devices in (1, 2, 4)])
    if "processes" in arguments.only:
        content["processes"] = beside_the_first([shared(processes, 1) for processes in (1, 2)])
    if "videos" in arguments.only:
        content["videos"] = [of_size(videos) for videos in VIDEOS]
    print(report.write(arguments.out, report.rounded(content)))


if __name__ == "__main__":
    main()
