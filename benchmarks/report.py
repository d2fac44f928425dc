"""What every benchmark needs: times of interleaved calls, their ratios, the machine's own limit, and a JSON file.

A benchmark's figures go to ``benchmarks/results/NAME.json`` by :func:`write`, beside what they were measured on and
with. jax is only asked where the benchmark itself has imported it.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks" / "results"
sys.path.insert(0, str(REPO))
from aqa_jax.files import write_json  # noqa: E402

Times = dict[str, list[float]]
"""Seconds of each round, by name; round i of all names was run together."""


def write(path_or_name: str | os.PathLike[str], content: Mapping[str, Any]) -> Path:
    """Writes ``content`` with :func:`machine` under the key ``machine``; returns the file.

    A bare name stands for ``benchmarks/results/NAME.json``.
    """
    path = _path(path_or_name)
    write_json(path, {"machine": machine(), **content})
    return path


def _path(path_or_name: str | os.PathLike[str]) -> Path:
    path = Path(path_or_name)
    return path if path.suffix == ".json" else RESULTS / f"{path}.json"


def machine() -> dict[str, Any]:
    """The device's name, the cores this process may use, versions, commit and time (UTC)."""
    versions = {"python": platform.python_version()}
    for package in ("jax", "jaxlib", "flax", "torch", "numpy", "opencv-python-headless", "pillow"):
        if package.partition("-")[0] in {"jax", "jaxlib", "numpy"} or _imported(package):
            versions[package] = importlib.metadata.version(package)
    return {
        "device": device(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
    }


def _imported(package: str) -> bool:
    module = {"opencv-python-headless": "cv2", "pillow": "PIL"}.get(package, package)
    return module in sys.modules


def device() -> str:
    """The accelerator that jax computes on, or the CPU's name."""
    if "jax" in sys.modules:
        first = sys.modules["jax"].devices()[0]
        if first.platform != "cpu":
            return first.device_kind
    return cpu_model()


def cpu_model() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """The commit that is checked out, with ``+`` where tracked files differ from it; empty outside a repository."""
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "aqa_jax", "run.py"], cwd=REPO).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name + ("+" if changed else "")


def seconds(function: Callable[[], Any], calls: int = 1) -> float:
    """Seconds of one call, the mean of that many; a call must itself wait for what it starts."""
    started = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - started) / calls


def interleaved(
    functions: Mapping[str, Callable[[], Any]], rounds: int, *, warm: bool = True, pause: float = 0.0, turn: float = 0.0
) -> Times:
    """Times ``functions`` in turn, A B A B ..., so that a busy moment of the machine hits them all alike.

    Args:
      functions: each waits for its own result.
      rounds: timed calls of each.
      warm: one untimed call of each before.
      pause: seconds of rest before each turn, for threads of the one before that spin for a while.
      turn: seconds that a turn should take: a first call untimed, which finds its threads asleep and its memory cold,
        then as many as fill that time, of which the mean is taken.
    """
    calls = dict.fromkeys(functions, 1)
    if warm or turn:
        for name, function in functions.items():
            function()
            calls[name] = max(round(turn / max(seconds(function), 1e-6)), 1) if turn else 1
    times: Times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            if pause:
                time.sleep(pause)
            if turn:
                function()
            times[name].append(seconds(function, calls[name]))
    return times


def medians(times: Times) -> dict[str, float]:
    """Median seconds of each."""
    return {name: statistics.median(values) for name, values in times.items()}


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> dict[str, float]:
    """Lowest, median and highest of the rounds' ratios ours / theirs; below 1 ours is the faster."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}


def rounded(value: Any, digits: int = 4) -> Any:
    """``value`` with every float in it rounded to ``digits`` significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(v, digits) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v, digits) for v in value]
    return value


def matmul_peak(dtype: str = "float32", *, repeats: int = 7) -> float:
    """FLOP/s of the best of several square matrix products in ``dtype`` by jax: what the machine can do at most."""
    import jax
    import jax.numpy as jnp

    size = 2048 if jax.default_backend() == "cpu" else 8192
    a, b = (jax.random.normal(jax.random.key(i), (size, size), jnp.float32).astype(dtype) for i in range(2))
    product = jax.jit(jnp.matmul)
    product(a, b).block_until_ready()
    best = min(seconds(lambda: product(a, b).block_until_ready()) for _ in range(repeats))
    return 2 * size**3 / best


def markdown(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A markdown table; floats with three significant digits."""
    lines = [list(map(str, header))]
    lines.append(["---"] * len(lines[0]))
    lines += [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(path_or_name: str | os.PathLike[str]) -> dict[str, Any]:
    """What :func:`write` wrote there before, without its ``machine``; empty if nothing."""
    path = _path(path_or_name)
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("machine", None)
    return content


def written_on(path_or_name: str | os.PathLike[str]) -> str:
    """The device of the run that :func:`write` last wrote there; empty if nothing."""
    path = _path(path_or_name)
    return json.loads(path.read_text(encoding="utf-8"))["machine"]["device"] if path.exists() else ""
