"""The machine, the packages on it, and the devices that jax finds."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from aqa_jax.data import cores
from aqa_jax.doctor.finding import BROKEN, FINE, NOTE, Finding, size

ROOT = Path(__file__).resolve().parents[2]
_NEEDED_MEMORY = 2e9
# What each extra file of requirements is for; those for tests and benchmarks are nobody's loss.
_EXTRAS = {
    "video": "H.264 in the videos that predict draws, which browsers show",
    "serve": "the local page, --mode serve",
    "tfds": "the literal `tfds build` command",
}
_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "opencv-python-headless")


def machine() -> Iterator[Finding]:
    """System, Python, cores, memory."""
    version = platform.python_version()
    wrong = sys.version_info < (3, 11)
    yield Finding(
        "machine", "python", f"{version} on {platform.system()} {platform.release()} ({platform.machine()})",
        BROKEN if wrong else FINE, "use Python 3.11 or later" if wrong else "",
    )  # fmt: skip
    everywhere = os.cpu_count() or 1
    yield Finding("machine", "cores", f"{cores()}" + (f" of {everywhere}" if cores() < everywhere else ""))
    free, total = memory()
    if total:
        little = free < _NEEDED_MEMORY
        yield Finding(
            "machine", "memory", f"{size(free)} of {size(total)} free", NOTE if little else FINE,
            "close other programs, or train with --config.train.remat=blocks --config.data.cache_mb=0" * little,
        )  # fmt: skip


def memory() -> tuple[float, float]:
    """Free and whole memory in bytes, as a container's limit leaves it; 0, 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = {line.split(":")[0]: 1024.0 * int(line.split()[1]) for line in lines if line.endswith("kB")}
        free, total = values["MemAvailable"], values["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        if "SC_PHYS_PAGES" not in os.sysconf_names:
            return 0.0, 0.0
        page = os.sysconf("SC_PAGE_SIZE")
        total = float(page * os.sysconf("SC_PHYS_PAGES"))
        free = float(page * os.sysconf("SC_AVPHYS_PAGES")) if "SC_AVPHYS_PAGES" in os.sysconf_names else total
    group = Path("/sys/fs/cgroup")
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is not None and limit < total:
        free, total = min(free, limit - (used or 0.0)), limit
    return free, total


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def packages() -> Iterator[Finding]:
    """Versions, those that are missing or out of range, and the extras."""
    required = _requirements("requirements.txt") or importlib.metadata.requires("aqa_jax") or []
    wrong, fine = [], 0
    for line in required:
        problem = _problem(line)
        if problem:
            wrong.append(problem)
        else:
            fine += 1
    found = {name: _version(name) for name in _SHOWN}
    shown = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Finding("packages", "versions", shown)
    if wrong:
        fix = "python -m pip install -r requirements.txt"
        yield Finding("packages", "required", f"{fine} as they should be; not: {'; '.join(wrong)}", BROKEN, fix)
    else:
        yield Finding("packages", "required", f"all {fine} are there, in versions that fit")
    if _version("opencv-python") and _version("opencv-python-headless"):
        fix = "python -m pip uninstall opencv-python opencv-python-headless, then install opencv-python-headless again"
        yield Finding("packages", "OpenCV", "installed twice: one overwrites the other's files", BROKEN, fix)
    yield from _extras()
    browsers = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((path for name in browsers if (path := shutil.which(name))), None)
    yield Finding("packages", "chromium", browser or "none on the path; only the tests of reports and the page use it")


def _extras() -> Iterator[Finding]:
    """One line for what is not required; another for what is there in versions that do not fit."""
    there, absent = [], []
    for name, purpose in _EXTRAS.items():
        lines = _requirements(f"requirements-{name}.txt")
        problems = [problem for line in lines if (problem := _problem(line))]
        if len(problems) == len(lines) > 0:
            absent.append(f"{name} ({purpose})")
        elif problems:
            fix = f"python -m pip install -r requirements-{name}.txt"
            yield Finding("packages", f"extra: {name}", "; ".join(problems), NOTE, fix)
        elif lines:
            there.append(name)
    how = f"; not installed, pip install -r requirements-NAME.txt if you want it: {', '.join(absent)}" if absent else ""
    yield Finding("packages", "extras", (", ".join(there) or "none") + how)


def _requirements(name: str) -> list[str]:
    """The requirements of a file of the repository; none where it is not there."""
    path = ROOT / name
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text().splitlines() if re.match(r"[A-Za-z]", line)]


def _problem(requirement: str) -> str:
    """What is wrong with a requirement, in words; empty: nothing."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return ""
    found = _version(wanted.name)
    if found is None:
        return f"{wanted.name} is not installed"
    return (
        "" if wanted.specifier.contains(found, prereleases=True) else f"{wanted.name} {found} is not {wanted.specifier}"
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """What jax computes on; whether it does; a GPU that it does not see."""
    import jax
    import jax.numpy as jnp

    found = jax.devices()
    kinds = sorted({device.device_kind for device in found})
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in found]
    room = f", {size(limits[0])} each" if limits and limits[0] else ""
    product = float(jnp.dot(jnp.full((64, 64), 0.5), jnp.full((64, 64), 2.0))[0, 0])
    right = product == 64
    yield Finding(
        "devices", "jax finds", f"{len(found)} x {' and '.join(kinds)}{room}", FINE if right else BROKEN,
        "" if right else f"a product of matrices came out as {product} instead of 64: is the driver right for jax?",
    )  # fmt: skip
    from aqa_jax.config import Config
    from aqa_jax.tasks.base import compute_dtype

    yield Finding("devices", "computes in", f"{compute_dtype(Config())} by default (config.model.dtype)")
    if found[0].platform == "cpu" and (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        if chosen := os.environ.get("JAX_PLATFORMS"):
            yield Finding("devices", "NVIDIA", f"not used: JAX_PLATFORMS={chosen}", NOTE, "unset it to use the GPU")
        else:
            fix = "python -m pip install -r requirements-cuda12.txt (or -cuda13.txt, for a driver from 580 on)"
            yield Finding("devices", "NVIDIA", "there is a driver, but jax has no GPU", BROKEN, fix)
