"""JPEG bytes and video files to uint8 RGB frames; every fault a DecodeError that says what and where."""

import os

# Read once, when OpenCV loads: a forged header must not allocate gigabytes, and its own chatter hides our
# messages.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(64 * 1024 * 1024))
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from aqa_jax.errors import DecodeError

__all__ = ["cv2", "decode_jpeg"]


def decode_jpeg(data: bytes | memoryview, what: str) -> np.ndarray:
    """Decode one whole JPEG to uint8 RGB [H, W, 3]; `what` names it in errors."""
    if len(data) < 4 or bytes(data[:2]) != b"\xff\xd8":
        raise DecodeError(f"{what}: not a JPEG")
    if bytes(data[-2:]) != b"\xff\xd9":
        raise DecodeError(f"{what}: the JPEG is cut short")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DecodeError(f"{what}: the JPEG is damaged")
    return image
