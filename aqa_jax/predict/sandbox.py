"""Runs what touches a stranger's bytes in a process of its own, so that a crash is an error message for one file.

The child has limits of time and memory, writes no core dump, knows none of the parent's environment but what it needs
to start, and answers in a format that cannot execute anything (:mod:`aqa_jax.predict.wire`). It is no jail: it has the
user's rights to files. Who fears a codec that is taken over runs the whole command in a container.
"""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from aqa_jax import errors
from aqa_jax.data import cores
from aqa_jax.errors import AqaError, DecodeError, RunError, printable
from aqa_jax.predict import wire

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

SECONDS = 120.0
MEGABYTES = 768
"""Beyond what the libraries take, about 50 MB."""
_START_SECONDS = 120.0
_CODE = (
    "import json, sys; path, seconds, megabytes = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from aqa_jax.predict.sandbox_child import serve; serve(seconds, megabytes)"
)
# What an interpreter needs to start; credentials and the like stay behind.
_KEPT = {"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL"}
_SET = {
    # One pool of memory, or each of the codec's threads reserves another.
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # More of them decode a file sooner, but take more of the cores in all, which others need meanwhile.
    "OPENCV_FFMPEG_THREADS": str(min(4, max(1, cores() // 2))),
    # FFmpeg is listened to: a damaged frame is told nowhere else, and some at the level of information.
    "OPENCV_FFMPEG_LOGLEVEL": "32",
}
_LENGTH = struct.Struct("<Q")
_MAX_TEXT = 2000
_PIPE_BYTES = 2**20
_STARVED = ("Cannot allocate memory", "Insufficient memory", "Failed to allocate")


class Sandbox:
    """Child processes that run functions under limits: one for each call under way, kept for the next.

    Used as a context manager; any number of threads may call.
    """

    def __init__(self, seconds: float = SECONDS, megabytes: int = MEGABYTES):
        """Limits of one call.

        Args:
          seconds: of real time.
          megabytes: of memory (address space) beyond what the libraries take, and of the result.
        """
        self.seconds, self.megabytes = seconds, megabytes
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._closed = True
            children, self._all, self._idle = self._all, set(), []
        for child in children:
            child.kill()

    @property
    def pids(self) -> list[int]:
        """Of the children that live, for who measures them."""
        with self._lock:
            return [child.pid for child in self._all]

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The function's result; what :meth:`call_listening` gives without the messages."""
        return self.call_listening(function, *args, **kwargs)[0]

    def call_listening(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        """Runs a module-level function of an importable module in a child.

        Args:
          function: returns None, numbers, text, arrays of numbers, and lists, tuples and dicts of them.
          args: pickled; the first is named in errors where it is a path.
          kwargs: pickled.

        Returns:
          The result, and the lines that codecs wrote to standard output or error (where the system has pipes that
          do not block; else none).

        Raises:
          AqaError: what the function raised, of its own class.
          DecodeError: the child died, took too long or too much memory, or failed otherwise.
          RunError: no child starts, whatever the file is.
        """
        what = str(args[0]) if args and isinstance(args[0], str | os.PathLike) else function.__name__
        call = pickle.dumps((function, args, kwargs))
        child = self._take()
        try:
            answer = child.ask(call, self.seconds, self.megabytes * 2**20)
            result = self._checked(answer, what)
        except _ChildError as error:
            self._forget(child)
            raise DecodeError(f"{what}: {error}") from None
        except BaseException:
            # An error that came as an answer leaves the child as good as before; any other may be half way.
            if child.waits and not child.starved:
                self._give_back(child)
            else:
                self._forget(child)
            raise
        self._give_back(child)
        return result

    def _checked(self, answer: Any, what: str) -> tuple[Any, list[str]]:
        if not isinstance(answer, dict) or not isinstance(answer.get("messages"), list):
            raise _ChildError("the decoding process sent no result")
        messages = [_printable(line) for line in answer["messages"] if isinstance(line, str)]
        if "error" not in answer:
            return answer.get("result"), messages
        kind, text = answer["error"], _printable(str(answer.get("text", "")))
        starved = any(sign in line for sign in _STARVED for line in (text, *messages))
        if kind == "MemoryError" or starved or answer.get("starved") is True:
            raise DecodeError(
                f"{what}: decoding takes more than {self.megabytes} MB; if the file deserves it, raise "
                f"config.predict.decode_mb ({text or kind})"
            )
        known = getattr(errors, kind, None) if isinstance(kind, str) else None
        # A RunError is ours alone: it ends the whole call.
        if isinstance(known, type) and issubclass(known, AqaError) and not issubclass(known, RunError):
            raise known(text)
        raise DecodeError(f"{what}: cannot be decoded ({text})")

    def _take(self) -> "_Child":
        with self._lock:
            if self._closed:
                raise RuntimeError("the sandbox is closed")
            while self._idle:
                # One that was ended from outside meanwhile is not the next file's fault.
                if (child := self._idle.pop()).lives:
                    return child
                self._all.discard(child)
                child.kill()
        child = _Child(self.seconds, self.megabytes)
        with self._lock:
            if not self._closed:
                self._all.add(child)
                return child
        child.kill()
        raise RuntimeError("the sandbox is closed")

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(child)

    def _forget(self, child: "_Child") -> None:
        child.kill()
        with self._lock:
            self._all.discard(child)


class _ChildError(Exception):
    """The child is of no further use; in words."""


class _Child:
    """One process, and the pipes to it."""

    def __init__(self, seconds: float, megabytes: int):
        import aqa_jax

        package = str(Path(aqa_jax.__file__).resolve().parents[1])
        path = [str(Path(entry).resolve()) if entry else os.getcwd() for entry in sys.path]
        arguments = json.dumps([[*dict.fromkeys([*path, package])], seconds, megabytes])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in kill)
        environment = {name: value for name, value in os.environ.items() if name.upper() in _KEPT} | _SET
        # Isolated and without site: quick, and nothing beside the working folder's files is imported by chance.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CODE, arguments], env=environment, bufsize=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise _not_started(str(error)) from error
        _widen(self._process.stdout)
        self.waits = self.starved = self._greeted = False

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, call: bytes, seconds: float, max_bytes: int) -> Any:
        """The answer to a call.

        Raises:
          _ChildError: the process died, took too long, or answered nonsense.
        """
        if not self._greeted:
            # Other ends, as Ctrl+C, stay what they are.
            with suppress(_ChildError):
                self._greeted = self._within(_START_SECONDS, lambda: self._receive(0)) == "ready"
            if not self._greeted:
                self._errors.seek(0)
                said = self._errors.read(_MAX_TEXT).decode("utf-8", "replace").strip()
                raise _not_started(said or "it said nothing")
        self.waits = False

        def exchange() -> Any:
            assert self._process.stdin is not None
            self._process.stdin.write(_LENGTH.pack(len(call)))
            rest = memoryview(call)
            while rest:
                rest = rest[self._process.stdin.write(rest) :]
            return self._receive(max_bytes)

        answer = self._within(seconds, exchange)
        self.waits = True
        # Its peak of memory stays, and would be taken for the next file's.
        self.starved = isinstance(answer, dict) and "starved" in answer
        return answer

    def _receive(self, max_bytes: int) -> Any:
        assert self._process.stdout is not None
        return wire.receive(self._process.stdout, max_bytes)

    def _within(self, seconds: float, exchange: Callable[[], Any]) -> Any:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        clock = threading.Timer(seconds, stop)
        clock.daemon = True
        clock.start()
        try:
            return exchange()
        except (wire.WireError, OSError) as error:
            raise self._end(error, late.is_set(), seconds) from None
        finally:
            clock.cancel()

    def _end(self, error: Exception, late: bool, seconds: float) -> _ChildError:
        if late:
            return _ChildError(
                f"decoding takes longer than {seconds:g} seconds; if the file deserves it, raise "
                "config.predict.decode_seconds"
            )
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return _ChildError(f"the decoding process answered nonsense ({error})")
        if code == -getattr(signal, "SIGXCPU", 0):
            return _ChildError(f"decoding takes too long: {seconds:g} seconds on every core")
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _ChildError(f"the decoder crashed on it ({ended}): the file is damaged or hostile")

    def kill(self) -> None:
        """Ends the process at once and closes the pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Lets more bytes through at once: after each part, whoever reads waits for the interpreter."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # All that a user may have is in use.
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _not_started(said: str) -> RunError:
    return RunError(
        f"The process that decodes videos did not start: {_printable(said)}\nNo file is to blame. Are memory and "
        "processes left on this machine? python run.py --mode doctor says whether the libraries are in order."
    )


def _printable(text: str) -> str:
    return printable(text[:_MAX_TEXT])
