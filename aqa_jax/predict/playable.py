"""Videos that players show, and browsers where this machine can make them."""

import fractions
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax.data.decode import cv2
from aqa_jax.errors import DecodeError

H264, MPEG4 = "H.264", "MPEG-4"
# The index first, so that a browser starts before it has all.
_FASTSTART = {"movflags": "faststart"}


def write_playable(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float) -> str:
    """Writes uint8 RGB frames [H, W, 3], H and W even, to an .mp4; the file appears when it is whole.

    H.264 by PyAV where that is installed (requirements-video.txt), or by OpenCV where its build can: on macOS, not in
    the wheels for Linux. Else MPEG-4 Part 2, which media players show and browsers do not. OpenCV's VP9, which
    browsers show, takes a hundred times as long (a tenth of a second a frame), and its options cannot be set
    (github.com/opencv/opencv/issues/24570).

    Returns:
      The codec: :data:`H264` or :data:`MPEG4`.

    Raises:
      DecodeError: there are no frames, or none of the writers works here.
    """
    path = Path(path)
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise DecodeError(f"{path}: no frames to write")
    if first.shape[0] % 2 or first.shape[1] % 2:
        raise DecodeError(f"{path}: video frames have even sides, got {first.shape[:2]}")
    whole = chain([first], rest)
    partial = unfinished(path)
    try:
        codec = _write(partial, whole, first.shape[1::-1], fps)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return codec


def unfinished(path: Path) -> Path:
    """Where :func:`write_playable` writes until ``path`` is whole; a process that is killed leaves it behind."""
    return path.with_name(f".partial-{path.name}")


def _write(path: Path, frames: Iterator[np.ndarray], size: tuple[int, int], fps: float) -> str:
    try:
        import av
    except ImportError:
        pass
    else:
        if "libx264" in av.codecs_available:
            _write_x264(av, path, frames, size, fps)
            return H264
    for codec, tag in ((H264, "avc1"), (MPEG4, "mp4v")):
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*tag), fps, size)
        if writer.isOpened():
            for frame in frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            writer.release()
            # OpenCV says nothing of a disk that is full: the index, which comes last, is missing then.
            check = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
            whole = check.isOpened()
            check.release()
            if not whole:
                raise DecodeError(f"{path}: the video could not be written whole: is the disk full?")
            return codec
        writer.release()
    raise DecodeError(
        f"{path}: this OpenCV writes neither H.264 nor MPEG-4 here; pip install -r requirements-video.txt"
    )


@contextmanager
def _as_decode_error(av: Any, path: Path) -> Iterator[None]:
    """PyAV's errors, of a disk that is full among them, are of many classes."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise DecodeError(f"{path}: the video could not be written ({error}): is the disk full?") from None


def _write_x264(av: Any, path: Path, frames: Iterator[np.ndarray], size: tuple[int, int], fps: float) -> None:
    with _as_decode_error(av, path), av.open(str(path), "w", format="mp4", options=_FASTSTART) as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "26", "preset": "veryfast", "threads": "2"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
