"""A folder of images as a video."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aqa_jax.data.decode import Size, read_image, resize


class Folder(NamedTuple):
    """Where the images lie, and the size to store them at."""

    path: str
    size: Size


def render(folder: Folder) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Frames uint8 RGB [H, W, 3] by name, and the table row."""
    name = Path(folder.path).name
    row = {"id": name, "group": name, "score": 1.0, "difficulty": None, "judges": [], "eval_start": 0}
    return (resize(read_image(path), folder.size) for path in sorted(Path(folder.path).glob("*.jpg"))), row
