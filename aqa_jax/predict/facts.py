"""What a video file says of itself."""

import math
import os
from dataclasses import dataclass
from typing import Any

from aqa_jax.data import decode
from aqa_jax.data.decode import cv2
from aqa_jax.errors import DecodeError
from aqa_jax.predict.sandbox import Sandbox

_MAX_RATE = 1000.0
_MAX_SIDE = 2**16


@dataclass(frozen=True)
class Facts:
    """Of the container and its first frame.

    Attributes:
      fps: frames a second, as the container has it; None where it has none that can be.
      width: of an upright frame, pixels.
      height: of an upright frame, pixels.
      codec: its four characters, as h264; empty where they are none.
    """

    fps: float | None
    width: int
    height: int
    codec: str


def read_facts(path: str | os.PathLike[str], sandbox: Sandbox | None = None) -> Facts:
    """Opens the file in the ``sandbox``, or in this process.

    Raises:
      DecodeError: it is no video, or answers nonsense.
    """
    read: dict[str, Any] = _read(path) if sandbox is None else sandbox.call(_read, path)
    try:
        fps, codec, width, height = float(read["fps"]), str(read["codec"]), int(read["width"]), int(read["height"])
        if not (0 <= width <= _MAX_SIDE and 0 <= height <= _MAX_SIDE):
            raise ValueError(f"frames of {width} x {height} pixels")
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DecodeError(f"{path}: the decoding process sent no facts: the file is hostile") from None
    return Facts(
        fps=fps if math.isfinite(fps) and 0 < fps <= _MAX_RATE else None,
        width=width,
        height=height,
        codec=codec[:4] if codec.isascii() and codec.isprintable() else "",
    )


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Runs in the sandbox."""
    with decode._opened(path) as capture:
        fps = capture.get(cv2.CAP_PROP_FPS)
        codec = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        ok, frame = capture.read()
        height, width = frame.shape[:2] if ok else (0, 0)
    text = codec.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    return {"fps": float(fps), "width": width, "height": height, "codec": text}
