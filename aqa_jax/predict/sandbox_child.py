"""The other side of :class:`aqa_jax.predict.sandbox.Sandbox`: takes calls from its parent until the pipe closes.

Started bare by the sandbox, so it imports neither jax nor the caller's script. It unpickles its parent's calls, and
nothing else ever.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

# Loaded before memory is counted: OpenCV, and what is called most.
from aqa_jax.data import decode  # noqa: F401
from aqa_jax.errors import AqaError
from aqa_jax.predict import video_clips, wire  # noqa: F401

try:
    import resource
except ImportError:  # Windows: the parent's clock is the only limit.
    resource = None  # type: ignore[assignment]

MESSAGES_BYTES = 64 * 1024
_LENGTH = struct.Struct("<Q")


def serve(seconds: float, megabytes: int) -> None:
    """Answers calls from standard input on standard output.

    Args:
      seconds: of processor time a call and core, as a backstop where the parent, who counts real time, is gone.
      megabytes: of address space beyond what the libraries take.
    """
    calls = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    messages = _Messages()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    most = _limit(megabytes)
    wire.send(answers, "ready")
    while head := calls.read(_LENGTH.size):
        call = calls.read(_LENGTH.unpack(head)[0])
        _allow(seconds)
        messages.take()
        try:
            answer = _answer(call)
        except MemoryError:
            answer = {"error": "MemoryError", "text": ""}
        del call
        # A codec that got no memory says that it cannot decode.
        if "error" in answer and most and _peak() > 0.9 * most:
            answer["starved"] = True
        _reply(answers, answer, messages)
        del answer


def _answer(call: bytes) -> dict[str, Any]:
    try:
        function, args, kwargs = pickle.loads(call)
        return {"result": function(*args, **kwargs)}
    except AqaError as error:
        return {"error": type(error).__name__, "text": str(error)}
    except MemoryError:
        raise
    except Exception as error:
        return {"error": "Exception", "text": f"{type(error).__name__}: {error}"}


def _reply(answers: BinaryIO, answer: dict[str, Any], messages: "_Messages") -> None:
    answer["messages"] = messages.take()
    try:
        wire.send(answers, answer)
    except TypeError as error:
        wire.send(answers, {"error": "Exception", "text": str(error), "messages": []})


def _limit(megabytes: int) -> int:
    """Sets the limits that hold for all calls; the largest address space, or 0 if there is none."""
    if resource is None:
        return 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # Not Linux: what the libraries were measured to take, and to spare.
        taken = 2**30
    most = taken + megabytes * 2**20
    try:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (OSError, ValueError):  # macOS refuses.
        return 0
    return most


def _peak() -> int:
    """The largest address space so far."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024
    return 0


def _allow(seconds: float) -> None:
    if resource is None:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds * (os.cpu_count() or 1)) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or soft <= hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


class _Messages:
    """What codecs write to standard output and error, kept in a pipe that drops what it cannot hold."""

    def __init__(self) -> None:
        self._end: int | None = None
        if not hasattr(os, "set_blocking") or sys.platform == "win32":
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            return
        self._end, write = os.pipe()
        for end in (self._end, write):
            os.set_blocking(end, False)
        os.dup2(write, 1)
        os.dup2(write, 2)
        self._library = ctypes.CDLL(None)

    def take(self) -> list[str]:
        """The lines since the last time."""
        if self._end is None:
            return []
        self._library.fflush(None)
        try:
            data = os.read(self._end, MESSAGES_BYTES)
        except BlockingIOError:
            return []
        return data.decode("utf-8", "replace").splitlines()
