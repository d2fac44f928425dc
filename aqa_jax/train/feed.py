"""Training batches on the devices, one ahead: while a step runs, the next batch's frames are on their way."""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from aqa_jax.train.step import shard


class Position:
    """Where an input iterator stood, in the form that grain's checkpoints take."""

    def __init__(self, state: Any):
        """``state`` as the iterator's ``get_state`` gave it."""
        self._state = state

    def get_state(self) -> bytes:
        """The same text as for the iterator itself."""
        return json.dumps(self._state, indent=4).encode()


class Fed(NamedTuple):
    """A batch on the devices."""

    batch: dict[str, jax.Array]  # [devices, per device, ...]
    rows: np.ndarray  # [B], of this host
    position: Position  # after this batch, though the iterator itself is further


class Feed:
    """Takes batches from an iterator, in a thread of its own, and puts them on this host's devices.

    One batch waits there beside the one in use, and no more: frames take memory.
    """

    def __init__(self, iterator: Any, total: int):
        """Starts with the next batch of ``iterator``; takes ``total`` of them at most."""
        self._iterator, self._left = iterator, total
        self._devices = jax.local_device_count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._next = self._ask()

    def take(self, busy: Any) -> tuple[Fed, float]:
        """The next batch, and the seconds for which the devices had nothing to do until it came.

        Args:
          busy: result of the step that was dispatched last, or None. Only when it is there, and the batch is not, do
            the devices wait.
        """
        assert self._next is not None, "no batch is left"
        waited = 0.0
        if not self._next.done():
            jax.block_until_ready(busy)
            start = time.perf_counter()
            self._next.exception()  # Waits; what went wrong is raised below.
            waited = time.perf_counter() - start
        fed, self._next = self._next.result(), self._ask()
        return fed, waited

    def close(self) -> None:
        """Lets the thread end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _ask(self) -> "Future[Fed] | None":
        self._left -= 1
        return self._thread.submit(self._load) if self._left >= 0 else None

    def _load(self) -> Fed:
        batch = next(self._iterator)
        position = Position(self._iterator.get_state())
        return Fed(shard(batch, self._devices), batch["row"], position)
