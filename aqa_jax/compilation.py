"""Compiled programs: kept on disk from run to run, compiled in half the time on CPUs, and counted.

Set up by :func:`prepare` before jax is first used. :class:`CompiledOnce` is a step that may be compiled a single time:
a training that compiles again and again is slow without saying why.
"""

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from aqa_jax.errors import RunError

# XLA's newer emitters of fused loops double the time to compile and make programs that are no faster (docs/speed.md).
_OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
# Loops in the widest registers that there are; without AVX-512 it says nothing.
_WIDE = "--xla_cpu_prefer_vector_width=512"
# A device that another one waits for may have been stopped by Ctrl-Z, which is no reason to end the process.
_PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=1000000"
# Another version may not know a flag, and XLA ends the process at one that it does not know.
_CPU_FLAGS = {(0, 10): (_OLD_EMITTERS, _WIDE, _PATIENT), (0, 11): (_WIDE, _PATIENT)}
_PATHS = "jax_traceback_in_locations_limit"
_COMPILED = "/jax/core/compile/backend_compile_duration"
_CACHED = "/jax/compilation_cache/cache_hits"

_programs: list[tuple[int, str]] = []
_hits: list[int] = []


def prepare() -> None:
    """Turns the cache on disk on, and chooses how XLA compiles for CPUs; what the environment says counts more.

    Every program is kept: what takes milliseconds to compile is many programs. Call it before jax is first used.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    ours = _CPU_FLAGS.get(tuple(jax.__version_info__[:2]), ())
    os.environ["XLA_FLAGS"] = " ".join([flags, *(flag for flag in ours if flag.partition("=")[0] not in flags)]).strip()
    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.expanduser("~/.cache/aqa_jax/xla")
    jax.config.update("jax_compilation_cache_dir", directory)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_folder() -> Path | None:
    """Where programs are kept; None where the cache is off, or no folder of this machine."""
    on, directory = (
        getattr(jax.config, name) for name in ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    )
    return Path(directory) if on and directory and "://" not in str(directory) else None


def programs() -> list[str]:
    """Names of the programs that this thread has compiled so far, or read from the cache on disk."""
    return [name for thread, name in _programs if thread == threading.get_ident()]


def cache_hits() -> int:
    """How many programs the cache on disk has saved this process from compiling."""
    return len(_hits)


def _compiled(event: str, duration_secs: float, **about: str | int) -> None:
    if event == _COMPILED:
        _programs.append((threading.get_ident(), str(about.get("fun_name", "?"))))


def _happened(event: str, **about: str | int) -> None:
    if event == _CACHED:
        _hits.append(1)


jax.monitoring.register_event_duration_secs_listener(_compiled)
jax.monitoring.register_event_listener(_happened)


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Around what compiles a large program: without garbage collection.

    A trace makes a great many objects, and nearly all of them live: again and again the collector would look through
    them and through all modules, in vain.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def without_paths() -> Iterator[None]:
    """Around what is traced to be kept in a file: without the paths of this machine's source files."""
    before = getattr(jax.config, _PATHS)
    jax.config.update(_PATHS, 0)
    try:
        yield
    finally:
        jax.config.update(_PATHS, before)


class CompiledOnce:
    """``step(state, batch)``, compiled at its first call and never again."""

    def __init__(self, step: Callable[[Any, Any], Any]):
        """``step`` is a jitted or pmapped function."""
        self._step = step
        self._shapes: dict[str, str] | None = None

    def __call__(self, state: Any, batch: Any) -> Any:
        """The step's result.

        Raises:
          RunError: the step was compiled a second time; the arrays that differ from the first call's are named.
        """
        if self._shapes is None:
            with tracing():
                result = self._step(state, batch)
            self._shapes = _described(state, batch)
            return result
        before = len(programs())
        result = self._step(state, batch)
        if len(programs()) > before:
            now = _described(state, batch)
            changed = [
                f"{name}: {self._shapes.get(name, 'absent')}, now {now.get(name, 'absent')}"
                for name in sorted(now.keys() | self._shapes.keys())
                if now.get(name) != self._shapes.get(name)
            ]
            raise RunError(
                "The step was compiled a second time, and would be again and again. Changed since the first step: "
                + ("; ".join(changed[:5]) if changed else "no shape; is an array placed elsewhere?")
                + ". Every batch of a training has to have the same arrays."
            )
        return result


def _described(state: Any, batch: Any) -> dict[str, str]:
    """Dtype and shape of every array by its path; arrays that were donated still tell theirs."""
    leaves = jax.tree_util.tree_leaves_with_path({"state": state, "batch": batch})
    described = {}
    for path, leaf in leaves:
        weak = " (weakly typed)" if getattr(leaf, "weak_type", False) else ""
        described[jax.tree_util.keystr(path, simple=True, separator="/")] = f"{leaf.dtype} {list(leaf.shape)}{weak}"
    return described
