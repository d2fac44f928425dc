"""One video to frames: decode an mp4 file in order, or read a folder of images; resize."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aqa_jax.data.checksums import Expected, verify
from aqa_jax.data.decode import Size, iterate_frames, read_image, resize

from .videos import Source, names_of


@dataclass(frozen=True)
class Video:
    """What a worker needs.

    Attributes:
      row: of the video table.
      source: where the frames are.
      size: to store them at.
      expected: what is recorded of the file, or of each image.
    """

    row: dict[str, Any]
    source: Source
    size: Size
    expected: tuple[Expected | None, ...]


def render(video: Video) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Frames uint8 RGB [H, W, 3] in order, one in memory at a time, and the table row.

    Raises:
      ChecksumError: the file is not what was recorded of it; of images the iterator says so.
    """
    source = video.source
    if not source.count:
        verify(source.path, video.expected[0], video.row["id"])
        return iterate_frames(source.path, size=video.size), video.row
    images = zip((os.path.join(source.path, name) for name in names_of(source)), video.expected, strict=True)
    return (resize(read_image(path, expected), video.size) for path, expected in images), video.row
