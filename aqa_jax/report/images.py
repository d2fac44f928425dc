"""Pixels and charts as data URIs: what an HTML file carries inside itself."""

import base64
import io
import os
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

SIDE = 192
"""Pixels at most of a frame's longer side."""
_FRAME_MS = 80  # slower than life: a movement's phases can be told apart


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of the media type ``kind`` as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png_file(path: str | os.PathLike[str]) -> str | None:
    """A PNG file as a data URI; None where there is no such file."""
    return data_uri(Path(path).read_bytes(), "image/png") if Path(path).is_file() else None


def still(frame: np.ndarray) -> str:
    """A frame, uint8 RGB [H, W, 3], as a WebP data URI."""
    return _webp([frame])


def moving(frames: np.ndarray) -> str:
    """Frames, uint8 RGB [T, H, W, 3], as an endless animation: a WebP data URI."""
    return _webp(list(frames))


def _webp(frames: list[np.ndarray]) -> str:
    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    for picture in pictures:
        picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "WEBP", save_all=len(pictures) > 1, append_images=pictures[1:], duration=_FRAME_MS, loop=0, quality=75
    )
    return data_uri(buffer.getvalue(), "image/webp")


def chart(figure: Figure) -> str:
    """A figure as an SVG data URI: sharp at any width; the same figure gives the same text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "aqa_jax"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri(buffer.getvalue(), "image/svg+xml")
