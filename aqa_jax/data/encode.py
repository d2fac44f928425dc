"""Worker side of a dataset build: render videos, compress their frames, spool the records to a file.

Spawned workers import this module, so it stays light: numpy and OpenCV only. Records go through a file and
never through the pipe of the pool: memory stays constant however long a video is.
"""

import contextlib
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any, BinaryIO

import numpy as np

from aqa_jax.data.decode import cv2
from aqa_jax.data.records import FRAMES_PER_RECORD, encode_record
from aqa_jax.errors import ChecksumError, DataError, DecodeError

# A renderer turns one picklable spec into (frames, row): uint8 RGB [H, W, 3] arrays, and the row of the
# video table.
Renderer = Callable[[Any], tuple[Iterable[np.ndarray], dict[str, Any]]]
_LENGTH = struct.Struct("<I")
SAID = ".said"  # ends the name of the file that standard error goes to, beside a spool file
# What libjpeg says of damage that it decodes all the same, into pixels that nobody filmed; OpenCV says nothing.
JPEG_DAMAGE = (
    "Corrupt JPEG data", "Premature end of JPEG", "Invalid SOS parameters", "Inconsistent progression",
    "Unknown Adobe color transform",
)  # fmt: skip


@dataclass(frozen=True)
class FrameFormat:
    """How frames are stored: pixels, and JPEG quality (0-100; from 95 up without chroma subsampling)."""

    height: int
    width: int
    jpeg_quality: int


def encode_jpeg(frame: np.ndarray, quality: int) -> bytes:
    """Compress one uint8 RGB frame [H, W, 3]."""
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if quality >= 95:
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), parameters)
    if not ok:
        raise DataError(f"OpenCV could not compress a frame of shape {frame.shape}")
    return data.tobytes()


def start_worker() -> None:
    """Initialise a pool worker: one thread, Ctrl-C left to the parent, and no life after the parent's."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def spool_videos(render: Renderer, specs: Sequence[Any], form: FrameFormat, path: str) -> list[dict[str, Any]]:
    """Render `specs` in order into the file `path`; returns table rows with num_frames and num_records.

    Raises:
      DecodeError: a JPEG among the frames is damaged inside, though it can be decoded.
      ChecksumError: an image is not what was recorded of it.
    """
    rows = []
    with open(path, "wb") as file, listening(f"{path}{SAID}") as said:
        for spec in specs:
            frames, row = render(spec)
            try:
                rows.append({**row, **_spool_frames(_undamaged(frames, row, said), str(row.get("id")), form, file)})
            except ChecksumError as error:  # It has the path alone.
                raise ChecksumError(f"video {row.get('id')!r}: {error}") from None
    return rows


def _undamaged(frames: Iterable[np.ndarray], row: dict[str, Any], said: Callable[[], str]) -> Iterator[np.ndarray]:
    for number, frame in enumerate(frames):
        text = said()
        if any(sign in text for sign in JPEG_DAMAGE):
            raise DecodeError(
                f"video {row.get('id')!r}, frame {number}: the JPEG is damaged inside, though it can be decoded: "
                f"{text.strip()}. --mode check lists all such files: replace them, or leave the videos out"
            )
        yield frame


@contextlib.contextmanager
def listening(path: str) -> Iterator[Callable[[], str]]:
    """Keeps what is written to standard error, by libraries too, in the file `path`; passes it on at the end.

    Yields:
      A function that gives what was written since it was called last.
    """
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # There is no standard error.
        yield lambda: ""
        return
    with open(path, "w+b") as file:
        heard = 0

        def said() -> str:
            nonlocal heard
            if os.fstat(file.fileno()).st_size == heard:
                return ""
            text = os.pread(file.fileno(), 1 << 16, heard)
            heard += len(text)
            return text.decode("utf-8", "replace")

        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            rest = file.read().decode("utf-8", "replace")
            sys.stderr.write("".join(line for line in rest.splitlines(True) if not line.startswith(JPEG_DAMAGE)))
    os.unlink(path)


def _spool_frames(frames: Iterable[np.ndarray], name: str, form: FrameFormat, file: BinaryIO) -> dict[str, int]:
    num_frames = num_records = 0
    chunk: list[bytes] = []
    for frame in frames:
        if frame.shape != (form.height, form.width, 3) or frame.dtype != np.uint8:
            raise DataError(
                f"video {name!r}, frame {num_frames}: {frame.dtype} {frame.shape}, but the dataset stores "
                f"uint8 ({form.height}, {form.width}, 3); resize in the renderer or change height and width"
            )
        chunk.append(encode_jpeg(frame, form.jpeg_quality))
        num_frames += 1
        if len(chunk) == FRAMES_PER_RECORD:
            num_records += _write_record(chunk, file)
            chunk = []
    if chunk:
        num_records += _write_record(chunk, file)
    if not num_frames:
        raise DataError(f"video {name!r} has no frames")
    return {"num_frames": num_frames, "num_records": num_records}


def _write_record(chunk: list[bytes], file: BinaryIO) -> int:
    record = encode_record(chunk)
    file.write(_LENGTH.pack(len(record)))
    file.write(record)
    return 1


def read_spool(path: str) -> Iterator[bytes]:
    """Yields the records of a spool file in order."""
    with open(path, "rb") as file:
        while head := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(head)[0])
