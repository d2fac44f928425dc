"""Every frame of a video, decoded once: how many there are, a hash of each, and what it looks like from afar.

Imported by the processes that decode: numpy and OpenCV alone.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from aqa_jax.data.decode import cv2, iterate_frames, read_image

SIDE = 8  # pixels of a thumbnail
GLANCES = 8  # thumbnails of a video, spread evenly
_FLAT = 2.0  # grey levels: a frame whose pixels differ less is black, or a title


def scan(frames: Iterable[np.ndarray]) -> dict[str, Any]:
    """Looks at uint8 RGB frames [H, W, 3], one in memory at a time.

    Returns:
      ``hashes`` uint64 [N] of each frame's pixels, ``flat`` uint8 [N], 1 where a frame shows next to nothing,
      ``glances`` uint8 [`GLANCES`, `SIDE`, `SIDE`] of frames spread evenly (none: [0, ...]).
    """
    hashes: list[bytes] = []
    small: list[np.ndarray] = []
    flat: list[bool] = []
    for frame in frames:
        hashes.append(hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=8).digest())
        grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        small.append(grey)
        flat.append(bool(grey.std() < _FLAT))
    chosen: list[int] = np.linspace(0, len(small) - 1, GLANCES).round().astype(int).tolist() if small else []
    glances = np.array([small[k] for k in chosen], np.uint8).reshape(-1, SIDE, SIDE)
    return {
        "hashes": np.frombuffer(b"".join(hashes), np.uint64).copy(),
        "flat": np.array(flat, np.uint8),
        "glances": glances,
    }


def scan_file(path: str) -> dict[str, Any]:
    """`scan` of a video file.

    Raises:
      DecodeError: it cannot be decoded, or yields far fewer frames than its container claims.
    """
    return scan(iterate_frames(path))


def scan_images(folder: str, names: Sequence[str]) -> dict[str, Any]:
    """`scan` of images.

    Raises:
      DecodeError: one of them cannot be decoded.
    """
    return scan(read_image(os.path.join(folder, name)) for name in names)


def look_at_image(path: str) -> None:
    """Decodes one image, for the messages of the decoder.

    Raises:
      DecodeError: it cannot be decoded.
    """
    read_image(path)
