"""One trial to frames: decode an avi file in order, or read a folder of images; resize."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aqa_jax.data.decode import Size, iterate_frames, read_image, resize

from .videos import Source


@dataclass(frozen=True)
class Video:
    """What a worker needs: the table row, where the frames are, and the size to store them at."""

    row: dict[str, Any]
    source: Source
    size: Size


def render(video: Video) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Frames uint8 RGB [H, W, 3] in order, one in memory at a time, and the table row."""
    source = video.source
    if not source.names:
        return iterate_frames(source.path, size=video.size), video.row
    paths = (os.path.join(source.path, name) for name in source.names)
    return (resize(read_image(path), video.size) for path in paths), video.row
