"""The network and its training steps in aqa_jax and in PyTorch, in turn.

    python benchmarks/against_torch.py [--sizes 1x16x224 ...] [--modes fwd all ad] [--rounds N] [--threads N]
    python benchmarks/against_torch.py --markdown

Needs requirements-benchmark.txt. Figures go to benchmarks/results/against_torch.json; with --sizes or --modes only the
rows that were run change. A size is BATCHxFRAMESxSIDE, with @WIDTH for a narrower network. Modes: fwd (features by the
running statistics), all (loss = sum of the features, gradients of every parameter), ad (3D-Adapters in every block,
gradients of these alone). float32, and the kernels that config.model.kernels=auto chooses. PyTorch runs the same
function (checked first, values and gradients) in its default layout and in channels_last_3d. Each has a process of its
own (benchmarks/turns.py), set up as its users have it: ours as run.py sets itself up (allocation, devices), torch's as
it comes; one more has torch with our allocation.

Modes dae and pecop are two papers' whole training steps, the product's beside PyTorch's (benchmarks/torch_steps.py). On
a GPU they alone are run, at the papers' sizes, in bfloat16, PyTorch with autocast and torch.compile; on a CPU, small.
"""

import argparse
import contextlib
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from benchmarks import memory, report, turns  # noqa: E402
from benchmarks.work import Mode, Size, flops  # noqa: E402

SIZES = (
    "1x16x224", "2x16x224", "1x32x224", "2x16x64",
    "2x16x32@.25", "2x16x64@.25", "8x16x32@.25", "8x16x64@.25",
)  # fmt: skip
MODES = ("fwd", "all", "ad")
LAYOUTS = ("default", "channels_last")
PAPERS = ("dae", "pecop")
# Compile time and memory: where the limits that we set ourselves are.
DEEP = (("1x16x224", "all"), ("1x16x224", "ad"), ("2x16x224", "all"))
# torch's OpenMP threads spin for 4 ms after a parallel region, jax's for .1 ms (their CPU time): without a rest the one
# that comes second would share its cores with them.
PAUSE = 0.03
# Steps are timed as a training runs them, one after the other: many in a turn, after one that warms memory up.
TURN = 1.5
FORWARD_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 2e-2


def rounds_of(size: Size) -> int:
    """Turns of each: more of what is quick."""
    return 5 if size.side > 64 else 9


def our_model(size: Size, mode: str) -> tuple[Any, dict[str, Any]]:
    """Assembler and groups of the backbone alone, with statistics and shifts that a wrong layout would not survive."""
    import numpy as np
    from flax import nnx

    from aqa_jax import config as config_lib
    from aqa_jax.models.adapters import TUNING
    from aqa_jax.tasks.base import make_backbone
    from aqa_jax.train.state import Assembler, flat, with_values

    config = config_lib.default_config()
    config.model.dialect, config.model.width, config.model.dtype = "pecop", size.width, "float32"
    config.adapter.kind = "3d" if mode == "ad" else "none"
    resolved = config_lib.resolve(config)
    trained = TUNING["adapters" if mode == "ad" else "all"]
    assembler = Assembler(lambda: make_backbone(resolved, nnx.Rngs(0), None), trained)
    groups = assembler.init()
    rng = np.random.default_rng(0)
    values = {}
    for path, leaf in flat(groups).items():
        if path.endswith(("bn/scale", "bn/var", "adapter/scale")):
            values[path] = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        elif path.endswith(("bn/bias", "bn/mean")):
            values[path] = rng.normal(0, 0.1, leaf.shape).astype(np.float32)
    return assembler, with_values(groups, values)


def our_function(size: Size, mode: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The compiled function, its arguments, and the parameter groups.

    The clips are shared by as many devices as a training would have (:mod:`aqa_jax.train.devices`); features come out
    as [devices, clips each, ...].
    """
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from aqa_jax.train.devices import worth_sharing
    from aqa_jax.train.packed import Packing

    assembler, groups = our_model(size, mode)
    devices = jax.devices()[: math.gcd(size.batch, jax.device_count())]
    each = size.batch // len(devices) * size.frames * size.side**2
    if not worth_sharing(mode, each, size.width):
        devices = devices[:1]
    mesh = Mesh(np.array(devices), ("share",))

    def placed(tree: Any, *axes: str) -> Any:
        return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))

    video = video_of(size)
    video = placed(video.reshape(len(devices), -1, *video.shape[1:]), "share")
    shared = functools.partial(jax.pmap, axis_name="share", devices=devices)
    if mode == "fwd":
        forward = shared(lambda groups, video: assembler.merge(groups)(video), in_axes=(None, 0))
        return forward, (placed(groups), video), groups
    packing = Packing(groups["trainable"])

    def step(trainable: Any, rest: Any, ones: jax.Array, video: jax.Array) -> tuple[jax.Array, Any]:
        def loss(trainable: Any) -> tuple[jax.Array, jax.Array]:
            features = assembler.merge({**rest, "trainable": trainable})(video)
            # A plain sum's gradient is a constant, which XLA would fold through the last layers for a minute.
            return (features * ones).sum(), features

        gradient, features = jax.grad(loss, has_aux=True)(trainable)
        # As in aqa_jax.train.step: the gradient goes between the devices packed, once.
        return features, packing.unpack(jax.lax.psum(packing.pack(gradient), "share"))

    rest = {name: group for name, group in groups.items() if name != "trainable"}
    features = jax.eval_shape(lambda groups, video: assembler.merge(groups)(video), groups, video[0])
    ones = np.ones(features.shape, features.dtype)
    run = shared(step, in_axes=(None, None, None, 0), out_axes=(0, None))
    return run, (*placed((groups["trainable"], rest, ones)), video), groups


def video_of(size: Size) -> Any:
    """Normalised frames [B, T, H, W, 3] float32."""
    import numpy as np

    return np.random.default_rng(1).standard_normal((size.batch, size.frames, size.side, size.side, 3), np.float32)


def torch_functions(size: Size, mode: str, values: dict[str, Any], layout: str) -> tuple[Any, Callable[[], Any]]:
    """The module in ``layout``, and a function that runs ``mode`` and returns the features."""
    import torch

    from benchmarks import torch_i3d

    memory_format = torch.channels_last_3d if layout == "channels_last" else torch.contiguous_format
    module = torch_i3d.I3D(size.width, adapted=mode == "ad").eval()
    torch_i3d.load(module, values)
    module = module.to(memory_format=memory_format)
    if mode == "ad":
        torch_i3d.train_only_adapters(module)
    video = torch.from_numpy(video_of(size)).permute(0, 4, 1, 2, 3).contiguous(memory_format=memory_format)

    def forward() -> Any:
        with torch.inference_mode():
            return module(video)

    def step() -> Any:
        for parameter in module.parameters():
            parameter.grad = None
        features = module(video)
        features.sum().backward()
        return features.detach()

    return module, forward if mode == "fwd" else step


def disagreement(mode: str, ours: Any, module: Any, theirs: Any) -> dict[str, float]:
    """How far both are apart: the features' largest error, and that of the gradient as one long vector.

    Raises:
      SystemExit: they are not the same function.
    """
    import numpy as np

    from aqa_jax.train.state import flat
    from benchmarks import torch_i3d

    features = np.asarray(ours if mode == "fwd" else ours[0])
    features = features.reshape(theirs.shape)
    error = np.abs(features - theirs.numpy()).max()
    found = {"features_abs": float(error), "features_rel": float(error / np.abs(features).max())}
    if mode != "fwd":
        parameters = dict(module.named_parameters())
        square, norm, met = 0.0, 0.0, set()
        for path, value in flat({"trainable": ours[1]}, ("trainable",)).items():
            name, array = torch_i3d.converted(path, value)
            gradient = parameters[name].grad.numpy()
            square += float(np.square(array - gradient, dtype=np.float64).sum())
            norm += float(np.square(gradient, dtype=np.float64).sum())
            met.add(name)
        found["gradient_rel"] = (square / norm) ** 0.5
        if met != {name for name, parameter in parameters.items() if parameter.grad is not None}:
            sys.exit(f"{mode}: the two do not train the same parameters.")
    # Written so that NaN fails it.
    agree = found["features_rel"] <= FORWARD_TOLERANCE and found.get("gradient_rel", 0.0) <= GRADIENT_TOLERANCE
    if not agree:
        sys.exit(f"{mode}: aqa_jax and torch disagree, so nothing is timed: {found}")
    return found


def check(text: str, mode: Mode) -> dict[str, dict[str, float]]:
    """Runs one mode of one size once in each library and both of torch's layouts; how far they are apart."""
    from aqa_jax.train.state import flat

    size = Size.parse(text)
    function, arguments, groups = our_function(size, mode)
    ours, found = function(*arguments), {}
    for layout in LAYOUTS:
        module, run = torch_functions(size, mode, flat(groups), layout)
        found[layout] = disagreement(mode, ours, module, run())
    return found


def compare(text: str, mode: Mode, rounds: int | None, threads: int) -> dict[str, Any]:
    """Checks and times one mode of one size, each library in processes of its own that take turns."""
    size, found = Size.parse(text), check(text, mode)
    kinds = {"ours": turns.OURS} | {f"torch_{kind}": kind for kind in (*LAYOUTS, f"channels_last{turns.ALLOCATED}")}
    with contextlib.ExitStack() as stack:
        calls = {name: stack.enter_context(turns.Turns(kind, text, mode, threads)) for name, kind in kinds.items()}
        times = report.interleaved(calls, rounds or rounds_of(size), pause=PAUSE, turn=TURN)
    work = flops(mode, size)
    seconds = report.medians(times)
    return {
        "rounds": len(times["ours"]),
        "seconds": seconds,
        **{f"ours_over_{name}": report.ratio(times["ours"], times[name]) for name in kinds if name != "ours"},
        "gflop": work / 1e9,
        "gflops_per_s": {name: work / s / 1e9 for name, s in seconds.items()},
        "disagreement": found,
        "commit": report.commit(),
    }


def child(kind: str, text: str, mode: str, threads: int, on_call: bool) -> None:
    """What a process of its own does: calls whenever asked to, or prints a step's memory (and ours' compile time)."""
    import jax

    from aqa_jax import compilation

    compilation.prepare()
    jax.config.update("jax_num_cpu_devices", threads)
    size, found = Size.parse(text), {}
    if kind == turns.OURS:
        function, arguments, _ = our_function(size, mode)
        started = time.perf_counter()
        with compilation.tracing():
            compiled = function.lower(*arguments).compile()
        found["compile_s"] = time.perf_counter() - started
        found["temporary_mb"] = compiled.memory_analysis().temp_size_in_bytes / 2**20

        def run() -> Any:
            return jax.block_until_ready(compiled(*arguments))
    else:
        import torch

        from aqa_jax.train.state import flat

        torch.set_num_threads(threads)
        _, groups = our_model(size, mode)
        _, run = torch_functions(size, mode, flat(groups), kind)
    if on_call:
        for _ in sys.stdin:
            run()
            print("done", flush=True)
        return
    found |= memory.peak(run)
    print(json.dumps(found))


def deep(text: str, mode: str, threads: int) -> dict[str, Any]:
    """Compile time, cold and from the persistent cache, and peak memory: each from a process of its own."""

    def run(kind: str, cache: str) -> dict[str, float]:
        command = turns.command(kind, text, mode, threads)
        environment = turns.environment(kind) | {"JAX_COMPILATION_CACHE_DIR": cache}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    with tempfile.TemporaryDirectory() as cache:
        cold, warm = run(turns.OURS, cache), run(turns.OURS, cache)
        layouts = LAYOUTS if mode == "all" else ()
        torch = {f"torch_{layout}": run(layout, cache) for layout in layouts}
    result: dict[str, Any] = {
        "compile_cold_s": cold["compile_s"],
        "compile_cached_s": warm.pop("compile_s"),
        "memory": {"ours": warm, **torch},
        "commit": report.commit(),
    }
    if "step_mb" in warm:
        result["ours_over_torch"] = {name: warm["step_mb"] / m["step_mb"] for name, m in torch.items()}
    return result


def as_markdown(results: dict[str, Any]) -> str:
    """The tables of docs/speed.md."""
    names, peak = ("ours", "torch_default", "torch_channels_last"), results.get("matmul_peak_gflops_per_s", 1)
    layouts = ["torch", "torch channels_last"]
    tables = []
    rows = []
    for text, mode, row in _flat(results, "rows"):
        default, ratio = row["ours_over_torch_default"], row["ours_over_torch_channels_last"]
        shares = [f"{100 * row['gflops_per_s'][name] / peak:.0f} %" for name in (names[0], names[2])]
        rows.append([text, mode, *(1e3 * row["seconds"][name] for name in names), default["median"],
                     _spread(ratio), *shares])  # fmt: skip
    tables.append((["clips", "mode", "ours, ms", *(f"{name}, ms" for name in layouts), "ours / torch",
                    "ours / torch channels_last", "ours, of peak", "torch channels_last, of peak"], rows))  # fmt: skip
    rows = []
    for text, mode, row in _flat(results, "deep"):
        steps = [round(row["memory"][name]["step_mb"]) if row["memory"].get(name) else "–" for name in names]
        rows.append([text, mode, row["compile_cold_s"], row["compile_cached_s"], *steps])
    tables.append((["clips", "mode", "compile cold, s", "from the cache, s", "memory, MB: ours", *layouts], rows))
    rows = []
    for text, mode, row in _flat(results, "papers"):
        shares = [f"{100 * row['share_of_matmul_peak'][name]:.0f} %" for name in ("ours", "torch")]
        seconds = [1e3 * row["seconds"][name] for name in ("ours", "torch")]
        rows.append([text, mode, row["dtype"], *seconds, _spread(row["ours_over_torch"]), *shares])
    tables.append((["videos", "step", "in", "ours, ms", "torch, ms", "ours / torch", "ours, of peak",
                    "torch, of peak"], rows))  # fmt: skip
    return "\n\n".join(report.markdown(header, rows) for header, rows in tables if rows)


def _flat(results: dict[str, Any], section: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [(text, mode, row) for text, modes in results.get(section, {}).items() for mode, row in modes.items()]


def _spread(ratio: dict[str, float]) -> str:
    return f"**{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f})"


def main() -> None:
    """Run what is asked for, and merge it into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--modes", nargs="+", choices=MODES + PAPERS, default=list(MODES + PAPERS))
    parser.add_argument("--rounds", type=int, help="timed turns of each (default: 5 or 9, by size)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-deep", action="store_true", help="neither memory nor compile time")
    parser.add_argument("--out")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the file; run nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--turns", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # Before either library counts the cores, or takes all memory of a GPU.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")
    if arguments.child:
        child(arguments.child, arguments.sizes[0], arguments.modes[0], arguments.threads, arguments.turns)
        return
    import jax

    from aqa_jax import compilation

    compilation.prepare()
    jax.config.update("jax_num_cpu_devices", arguments.threads)
    gpu = jax.default_backend() == "gpu"
    out = arguments.out or ("against_torch_gpu" if gpu else "against_torch")
    results = report.read(out)
    if arguments.markdown:
        print(as_markdown(results))
        return
    import torch

    from benchmarks import torch_steps

    torch.set_num_threads(arguments.threads)
    if not gpu:
        print("No GPU: the CPU's sizes, in float32.", flush=True)
    results |= {"memory_how": memory.HOW, "pause_s": PAUSE, "threads": arguments.threads, "gpu": gpu}
    # The best of all runs on this machine, for it may be busy at one moment.
    before = results.get("matmul_peak_gflops_per_s", 0.0) if report.written_on(out) == report.device() else 0.0
    peaks = [1e9 * before]

    def keep(section: str, text: str, mode: str, row: dict[str, Any], *said: str) -> None:
        results.setdefault(section, {}).setdefault(text, {})[mode] = report.rounded(row)
        print(text, mode, json.dumps({key: report.rounded(row[key]) for key in said or row}), flush=True)
        report.write(out, results)

    for text in () if gpu else arguments.sizes:
        for mode in [mode for mode in arguments.modes if mode in MODES]:
            row = compare(text, mode, arguments.rounds, arguments.threads)
            peaks.append(report.matmul_peak())
            results["matmul_peak_gflops_per_s"] = report.rounded(max(peaks) / 1e9)
            keep("rows", text, mode, row, "seconds", "ours_over_torch_channels_last",
                 f"ours_over_torch_channels_last{turns.ALLOCATED}")  # fmt: skip
    for mode in [mode for mode in arguments.modes if mode in PAPERS]:
        row = torch_steps.compare(mode, arguments.rounds or 7)
        keep("papers", row["size"], mode, row, "seconds", "ours_over_torch")
    for text, mode in DEEP:
        if text in arguments.sizes and mode in arguments.modes and not gpu and not arguments.no_deep:
            keep("deep", text, mode, deep(text, mode, arguments.threads))
    print(as_markdown(results))


if __name__ == "__main__":
    main()
