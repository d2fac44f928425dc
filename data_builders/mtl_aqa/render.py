"""One dive to frames: read the images of its window, resize them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aqa_jax.data.checksums import Expected
from aqa_jax.data.decode import Size, read_image, resize

from .frames import Window


@dataclass(frozen=True)
class Dive:
    """What a worker needs.

    Attributes:
      row: of the video table.
      window: the images.
      size: to store them at.
      expected: what is recorded of each image.
    """

    row: dict[str, Any]
    window: Window
    size: Size
    expected: tuple[Expected | None, ...]


def render(dive: Dive) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Frames uint8 RGB [H, W, 3] in order, and the table row.

    Raises:
      ChecksumError: by the iterator: an image is not what was recorded of it.
    """
    paths = (os.path.join(dive.window.folder, name) for name in dive.window.names)
    images = zip(paths, dive.expected, strict=True)
    return (resize(read_image(path, expected), dive.size) for path, expected in images), dive.row
