"""Ending at SIGTERM: half-done things are removed by name, not by raising an error from the signal's handler.

A handler runs between any two instructions. What it raises there may be lost (in a `__del__`, a callback), and then
the program goes on as if nobody had asked, or break a lock that is being freed. So whoever makes something that must
not stay behind says here how it is removed, and the handler removes it and ends the process.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

EXIT_CODE = 143
_SECONDS = 20
_half_done: dict[object, Callable[[], object]] = {}


@contextmanager
def half_done(remove: Callable[[], object]) -> Iterator[None]:
    """While inside, SIGTERM calls `remove`, which may meet any state between two instructions, from the main thread.

    It must not wait for locks that the main thread may hold. Without a signal it is not called.
    """
    key = object()
    _half_done[key] = remove
    try:
        yield
    finally:
        _half_done.pop(key, None)


def install() -> None:
    """From now on SIGTERM ends the process by :func:`stop`; from its own last moments on, when it is done, not at all.

    Python takes handlers away before it ends: a run that is over would seem to have been killed.
    """
    signal.signal(signal.SIGTERM, stop)
    atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)


def stop(*_: object) -> None:
    """The handler of SIGTERM: kills the worker processes, removes what is half done, the newest first; ends with 143.

    A training has a handler of its own, which saves the state first (:mod:`aqa_jax.train.loop`).
    """
    os.write(2, b"SIGTERM: stopped. What was finished is kept; the same command goes on from there.\n")
    late = threading.Timer(_SECONDS, os._exit, (EXIT_CODE,))  # a removal that does not end
    late.daemon = True
    late.start()
    for process in multiprocessing.active_children():
        # Else it goes on writing to what is removed next.
        with suppress(Exception):
            process.kill()
            process.join()
    for remove in reversed(list(_half_done.values())):
        with suppress(Exception):
            remove()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # interrupted within a write of its own
            stream.flush()
    os._exit(EXIT_CODE)
