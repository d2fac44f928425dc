"""One dive to frames: read the images of its window, resize them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aqa_jax.data.decode import Size, read_image, resize

from .frames import Window


@dataclass(frozen=True)
class Dive:
    """What a worker needs: the table row, the images, and the size to store them at."""

    row: dict[str, Any]
    window: Window
    size: Size


def render(dive: Dive) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Frames uint8 RGB [H, W, 3] in order, and the table row."""
    paths = (os.path.join(dive.window.folder, name) for name in dive.window.names)
    return (resize(read_image(path), dive.size) for path in paths), dive.row
