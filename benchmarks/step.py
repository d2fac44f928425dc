"""The product's own compiled steps: seconds, FLOP/s, memory, and what compiling them takes.

    python benchmarks/step.py [--steps dae pecop ...] [--sizes 1x16x224 ...] [--rounds N] [--no-cold]
    python benchmarks/step.py --markdown

Steps: score (evaluation: videos to scores), dae (every parameter under Adam, running statistics), adapters (the same
head, 3D-Adapters alone), pecop (VSPP: 3D-Adapters under SGD, the batch's statistics, colour jitter). They are made as a
run makes them, from uint8 frames, which lie on the device already. A size is VIDEOSxFRAMESxSIDE, or
VIDEOSxCLIPSxFRAMESxSIDE, and @WIDTH for a narrower network. float32 on a CPU, bfloat16 on a GPU. Figures go to
benchmarks/results/step.json (on a GPU: step_gpu.json); with --steps or --sizes only the rows that were run change.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from benchmarks import memory, report  # noqa: E402
from benchmarks.work import Mode, Size, flops  # noqa: E402

STEPS: dict[str, Mode] = {"score": "fwd", "dae": "all", "adapters": "ad", "pecop": "ad"}
ON_CPU = {
    "1x16x224": ("score", "dae", "adapters", "pecop"),
    "2x16x224": ("score", "dae", "adapters"),
    "2x16x64": ("score", "dae", "adapters"),
    "1x32x224": ("score", "dae", "pecop"),
    "8x2x16x32@.25": ("score", "dae", "adapters"),
}
ON_GPU = {"8x10x16x224": ("score", "dae", "adapters"), "16x32x224": ("pecop",)}
# Compiled twice, from nothing and from the cache.
COLD = {"1x16x224": ("dae", "adapters", "pecop"), "8x10x16x224": ("dae",), "16x32x224": ("pecop",)}


def run_config(name: str, size: Size) -> Any:
    """The config of a run whose steps are these; its data is never read."""
    from aqa_jax import config as config_lib

    config = config_lib.default_config()
    config.data.clip_length, config.data.crop = size.frames, size.side
    config.data.clip_starts = tuple(range(0, 10 * size.clips, 10))
    config.data.window = 10 * (size.clips - 1) + size.frames
    config.model.dialect, config.model.width = "pecop", size.width
    config.train.batch_size = size.batch
    if STEPS[name] == "ad":
        config.adapter.kind, config.train.trainable = "3d", "adapters"
    if name == "pecop":
        config.task, config.model.batch_norm, config.vspp.colour_jitter = "vspp", "batch", 0.1
        config.optimizer.name, config.optimizer.learning_rate, config.optimizer.weight_decay = "sgd", 1e-3, 1e-4
    return config


def batch_of(size: Size) -> dict[str, Any]:
    """A batch as the input gives it: video uint8 [B, S, T, H, W, 3], and every number that a task may read [B]."""
    import numpy as np

    rng, videos = np.random.default_rng(0), size.batch
    return {
        "video": rng.integers(0, 256, (videos, size.clips, size.frames, size.side, size.side, 3), np.uint8),
        "row": np.arange(videos, dtype=np.int32),
        "score": rng.normal(size=videos).astype(np.float32),
        "pace": rng.integers(0, 4, videos, np.int32),
        "segment": rng.integers(0, 4, videos, np.int32),
    }


class Step:
    """A compiled step, its state and a batch, on this host's devices."""

    def __init__(self, name: str, size: Size, config: Any = None):
        """Compiles the step; ``config`` replaces :func:`run_config`'s."""
        import jax

        from aqa_jax import compilation
        from aqa_jax import config as config_lib
        from aqa_jax.train import state as states
        from aqa_jax.train.optimizer import make_optimizer
        from aqa_jax.train.run import Run
        from aqa_jax.train.step import make_output_step, make_train_step, shard

        run = Run(config_lib.resolve(config or run_config(name, size)))
        optimizer = make_optimizer(run.config.optimizer, 1000)
        self.trains = name != "score"
        self.state = states.replicated(states.start(run.assembler.init(), optimizer))
        step: Any = make_output_step(run.task, run.assembler)
        if self.trains:
            step = make_train_step(run.task, run.assembler, optimizer, 1000, 0)
        # The frames' way to the device is the input's affair (benchmarks/input.py).
        self.batch = shard(batch_of(size), jax.local_device_count())
        started = time.perf_counter()
        with compilation.tracing():
            compiled = step.lower(self.state, self.batch).compile()
        self.compile_s = time.perf_counter() - started
        self.temporary_mb = compiled.memory_analysis().temp_size_in_bytes / 2**20
        # Called as the loop calls it; the first call finds the program in the cache on disk.
        self.step = step
        self.figures: dict[str, Any] = {}

    def __call__(self) -> None:
        """One step, to its end."""
        import jax

        found = self.step(self.state, self.batch)
        if self.trains:
            self.state, self.figures = found
        jax.block_until_ready(found)


def measured(name: str, text: str, rounds: int) -> dict[str, Any]:
    """One step in this process; without ``rounds`` it is compiled alone."""
    import jax

    from aqa_jax import compilation
    from aqa_jax import config as config_lib
    from aqa_jax.train import devices

    compilation.prepare()
    size = Size.parse(text)
    devices.share_among_cores(config_lib.resolve(run_config(name, size)))
    step = Step(name, size)
    found: dict[str, Any] = {"compile_s": step.compile_s}
    if not rounds:
        return found
    found["temporary_mb"] = step.temporary_mb
    step()
    found["memory"] = memory.peak(step)
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device_peak_mb"] = stats["peak_bytes_in_use"] / 2**20
    times = report.interleaved({"step": step}, rounds, turn=0.25)["step"]
    seconds = report.medians({"step": times})["step"]
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    peak, work = report.matmul_peak(dtype), flops(STEPS[name], size)
    return found | {
        "seconds": seconds,
        "seconds_min_max": [min(times), max(times)],
        "rounds": rounds,
        "clips_per_s": size.batch * size.clips / seconds,
        "gflop": work / 1e9,
        "gflops_per_s": work / seconds / 1e9,
        "matmul_peak_gflops_per_s": peak / 1e9,
        "dtype": dtype,
        "commit": report.commit(),
    }


def in_a_process(name: str, text: str, rounds: int, cache: str | None) -> dict[str, Any]:
    """:func:`measured` in a fresh process, for its memory and its compile time."""
    environment = os.environ | ({"JAX_COMPILATION_CACHE_DIR": cache} if cache else {})
    command = [sys.executable, __file__, "--child", "--steps", name, "--sizes", text, "--rounds", str(rounds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def as_markdown(results: dict[str, Any]) -> str:
    """The table of docs/speed.md."""
    rows = []
    for text, steps in results["rows"].items():
        for name, row in steps.items():
            megabytes = row.get("device_peak_mb", row["memory"].get("step_mb", "–"))
            rows.append([
                text, name, 1e3 * row["seconds"], row["clips_per_s"], row["gflops_per_s"],
                f"{100 * row['share_of_matmul_peak']:.0f} %",
                round(megabytes) if isinstance(megabytes, float) else megabytes,
                row.get("compile_cold_s", "–"), row.get("compile_cached_s", "–"),
            ])  # fmt: skip
    header = ["videos", "step", "ms", "clips/s", "GFLOP/s", "of matmul peak", "memory, MB", "compile cold, s",
              "from the cache, s"]  # fmt: skip
    return report.markdown(header, rows)


def on_gpu() -> bool:
    """Whether jax finds one; asked in a process of its own, for this one must not hold the GPU's memory."""
    code = "import jax; print(jax.default_backend())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "gpu"


def main() -> None:
    """Run what is asked for, and merge it into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--sizes", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-cold", action="store_true", help="compile times are not measured")
    parser.add_argument("--out")
    parser.add_argument("--markdown", action="store_true", help="print the table of the file; run nothing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments.steps[0], arguments.sizes[0], arguments.rounds)))
        return
    gpu = on_gpu()
    out = arguments.out or ("step_gpu" if gpu else "step")
    if arguments.markdown:
        print(as_markdown(report.read(out)))
        return
    if not gpu:
        print("No GPU: the CPU's sizes.")
    grid = ON_GPU if gpu else ON_CPU
    results = report.read(out) | {"memory_how": memory.HOW}
    for text in arguments.sizes or grid:
        for name in grid.get(text, tuple(STEPS)):
            if name not in arguments.steps:
                continue
            before = results.setdefault("rows", {}).setdefault(text, {}).get(name, {})
            kept = {key: before[key] for key in ("compile_cold_s", "compile_cached_s") if key in before}
            if name in COLD.get(text, ()) and not arguments.no_cold:
                with tempfile.TemporaryDirectory() as cache:
                    kept = {"compile_cold_s": in_a_process(name, text, 0, cache)["compile_s"]}
                    row = in_a_process(name, text, arguments.rounds, cache)
                kept["compile_cached_s"] = row["compile_s"]
            else:
                row = in_a_process(name, text, arguments.rounds, None)
            del row["compile_s"]
            results["rows"][text][name] = report.rounded(row | kept)
            # Against the best of all rows, for the machine may be busy at one moment.
            rows = [row for steps in results["rows"].values() for row in steps.values()]
            results["matmul_peak_gflops_per_s"] = max(row["matmul_peak_gflops_per_s"] for row in rows)
            for row in rows:
                share = row["gflops_per_s"] / results["matmul_peak_gflops_per_s"]
                row["share_of_matmul_peak"] = report.rounded(share)
            print(text, name, json.dumps(results["rows"][text][name]), flush=True)
            report.write(out, results)
    print(as_markdown(results))


if __name__ == "__main__":
    main()
