"""One video file to frames: decoded in order, thinned, resized; short ones stretched."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from aqa_jax.data.checksums import Expected, verify
from aqa_jax.data.decode import Size, iterate_frames

from .videos import Source


@dataclass(frozen=True)
class Video:
    """What a worker needs.

    Attributes:
      row: of the video table.
      source: the file.
      size: to store the frames at.
      fps: frames a second to keep, about; 0: all.
      min_frames: a shorter video is stretched to this many.
      expected: what is recorded of the file.
    """

    row: dict[str, Any]
    source: Source
    size: Size
    fps: float
    min_frames: int
    expected: Expected | None


def render(video: Video) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Frames uint8 RGB [H, W, 3] in order, a few in memory at a time, and the table row.

    The row's `stretched_from` is the number of frames of a video that had fewer than `min_frames`; else 0.

    Raises:
      ChecksumError: the file is not what was recorded of it.
    """
    verify(video.source.path, video.expected, video.row["id"])
    frames = iterate_frames(video.source.path, size=video.size)
    if 0 < video.fps < video.source.fps:
        frames = _thinned(frames, video.fps / video.source.fps)
    first = list(islice(frames, max(video.min_frames, 1)))
    short = 1 < len(first) < video.min_frames
    if short:
        # As a file that is scored is spread over the window.
        spread = np.round(np.linspace(0, len(first) - 1, video.min_frames)).astype(int)
        frames = iter([first[k] for k in spread])
    else:
        frames = chain(first, frames)
    return frames, {**video.row, "stretched_from": len(first) if short else 0}


def _thinned(frames: Iterable[np.ndarray], share: float) -> Iterator[np.ndarray]:
    """The first frame of every 1 / `share`."""
    for k, frame in enumerate(frames):
        if k == 0 or int(k * share + 1e-9) > int((k - 1) * share + 1e-9):
            yield frame
