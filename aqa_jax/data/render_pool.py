"""Renders videos in spawned processes, in order, in bounded memory."""

import collections
import contextlib
import functools
import multiprocessing
import os
import sys
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from aqa_jax.data import cores
from aqa_jax.data.encode import SAID, FrameFormat, Renderer, read_spool, spool_videos, start_worker
from aqa_jax.errors import DataError


class RenderPool:
    """Renders videos in spawned processes, in order, with a bounded number of tasks under way."""

    def __init__(self, workers: int | None, render: Renderer, form: FrameFormat, directory: str | os.PathLike[str]):
        """`workers` processes (None: one a core; 0: none but this one) that spool into `directory`."""
        self._workers = cores() if workers is None else workers
        self._directory, self._tasks = Path(directory), 0
        self._spool = functools.partial(spool_videos, render)
        self._form = form
        context = multiprocessing.get_context("spawn")
        self._executor = (
            ProcessPoolExecutor(self._workers, mp_context=context, initializer=start_worker) if self._workers else None
        )

    def __enter__(self) -> "RenderPool":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, specs: Sequence[Any]) -> tuple[str, Future[list[dict[str, Any]]]]:
        path = str(self._directory / f"spool-{self._tasks}")
        self._tasks += 1
        if self._executor:
            with _bare_main():
                return path, self._executor.submit(self._spool, specs, self._form, path)
        future: Future[list[dict[str, Any]]] = Future()
        future.set_result(self._spool(specs, self._form, path))
        return path, future

    def videos(self, specs: Sequence[Any]) -> Iterator[tuple[dict[str, Any], Iterator[bytes]]]:
        """Yields (row, its records) in order; the records must be consumed before the next video."""
        size = max(1, min(16, len(specs) // max(1, 8 * self._workers)))
        waiting = iter([specs[start : start + size] for start in range(0, len(specs), size)])
        pending: collections.deque[tuple[str, Future[list[dict[str, Any]]]]] = collections.deque()
        try:
            while True:
                while len(pending) < max(1, 2 * self._workers) and (task := next(waiting, None)) is not None:
                    pending.append(self._submit(task))
                if not pending:
                    return
                path, future = pending.popleft()
                rows = future.result()
                records = read_spool(path)
                for row in rows:
                    yield row, (next(records) for _ in range(row["num_records"]))
                os.unlink(path)
        except BrokenProcessPool as error:
            said = [
                text.strip()
                for path in self._directory.glob(f"*{SAID}")
                if (text := path.read_text("utf-8", "replace"))
            ]
            raise DataError(
                f"a worker process died; its last words: {'; '.join(said) or 'none'}. "
                "Without any it was probably out of memory: use fewer workers"
            ) from error


@contextlib.contextmanager
def _bare_main() -> Iterator[None]:
    """Spawned processes run the caller's script again unless `__main__` is empty; they need nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
