"""When SIGTERM ends a training: after the same step on every host, whichever of them it reached."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
import numpy as np

_HOSTS = "hosts"


class Stop:
    """Whether the training is to stop. Several hosts agree on it, so all of them ask after every step."""

    def __init__(self) -> None:
        self.asked = False
        """Whether SIGTERM reached this host."""
        self._several = jax.process_count() > 1
        self._any = jax.pmap(lambda asked: jax.lax.pmax(asked, _HOSTS), _HOSTS, out_axes=None)
        self._answer: jax.Array | None = None

    def after_step(self) -> bool:
        """Whether to save and stop now; to be called by every host once a step, when the step is dispatched.

        Several hosts go by what was known a step ago: that answer came with the last step's, so nobody waits for it.
        """
        if not self._several:
            return self.asked
        before, self._answer = self._answer, self._on_any_host()
        return before is not None and bool(before)

    def now(self) -> bool:
        """Whether it was asked for by now, on any host; to be called by every host, which wait for one another."""
        return bool(self._on_any_host()) if self._several else self.asked

    def _on_any_host(self) -> jax.Array:
        return self._any(np.full(jax.local_device_count(), self.asked, np.int32))


@contextlib.contextmanager
def on_sigterm() -> Iterator[Stop]:
    """A :class:`Stop` that SIGTERM asks for, while inside; Python allows that in the main thread alone."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "asked", True))
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
