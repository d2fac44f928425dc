"""One take of a camera, as a file."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from aqa_jax.data import decode
from aqa_jax.data.decode import cv2
from aqa_jax.errors import DataError

_NAME = re.compile(r"camera(?::(\d+))?")
# Cameras set their exposure in the first frames; the rate of these is the rate of the file.
_SETTLING = 10
_RATES = (5.0, 240.0)


def camera_of(name: str) -> int | None:
    """The camera's number in `camera` or `camera:N`; None: this names no camera."""
    match = _NAME.fullmatch(name)
    return int(match[1] or 0) if match else None


def record(camera: int, seconds: float, path: Path, *, clock: Callable[[], float] = time.monotonic) -> int:
    """Writes one take to `path` (.mp4 or .avi), at the rate that frames really come.

    Args:
      camera: its number, 0 is the first.
      seconds: length of the take.
      path: the file.
      clock: seconds, for tests.

    Returns:
      The number of frames.

    Raises:
      DataError: there is no such camera, another program has it, or it stops sending.
    """
    with _opened(camera) as capture:
        sent = _frames(capture)
        first = next(sent, None)  # which takes what a camera takes to wake up
        start = clock()
        settled = list(itertools.islice(sent, _SETTLING))
        if first is None or len(settled) < _SETTLING:
            raise DataError(f"camera {camera} opens and sends no pictures: is it in use by another program?")
        rate = float(np.clip(_SETTLING / max(clock() - start, 1e-3), *_RATES))
        height, width = (side // 2 * 2 for side in settled[-1].shape[:2])
        wanted = max(round(seconds * rate), 2)
        count = 0

        def take() -> Iterator[np.ndarray]:
            nonlocal count
            for frame in itertools.islice(sent, wanted):
                count += 1
                yield frame[:height, :width]

        decode.write_video(path, take(), fps=rate)
        if count < wanted:
            path.unlink()
            raise DataError(f"camera {camera} stopped after {count} of {wanted} frames")
        return count


def check_camera(camera: int) -> None:
    """Raises DataError where there is no such camera, or another program has it."""
    with _opened(camera):
        pass


@contextmanager
def _opened(camera: int) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(camera)
    try:
        if not capture.isOpened():
            raise DataError(
                f"no camera {camera} can be opened ({_cameras()}): is it plugged in, allowed, and free of other "
                "programs? --input camera:1 takes the second one"
            )
        yield capture
    finally:
        capture.release()


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Frames uint8 RGB [H, W, 3] until none comes."""
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _cameras() -> str:
    found = sorted(path.name for path in Path("/dev").glob("video*")) if Path("/dev").exists() else []
    return f"this machine has {', '.join(found)}" if found else "this machine shows none"
