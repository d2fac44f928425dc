"""What is drawn on a video's own frames: runs in the sandbox, where nothing but OpenCV and numpy is needed."""

import math
import os
from collections.abc import Iterator

import numpy as np

from aqa_jax.data import decode
from aqa_jax.data.decode import cv2
from aqa_jax.predict.playable import write_playable

MAX_FRAMES = 1800
"""Of an annotated video; of a longer or faster one every second, third, … frame is shown, in its own time."""
_BACKGROUND = 24
_CURSOR = (40, 40, 40)
_RATE = 25.0
# Sixty a second double the file and show nothing more; 30.3 or the like are thirty.
_MAX_RATE = 31.0


def fitted(height: int, width: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest even size of this shape, (height, width), within a box of (height, width)."""
    scale = min(box[0] / height, box[1] / width)
    rows, columns = (
        max(2, min(round(side * scale) // 2 * 2, most)) for side, most in zip((height, width), box, strict=True)
    )
    return rows, columns


def annotate(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    panel: np.ndarray,
    span: tuple[float, float, int, int],
    num_frames: int,
    box: tuple[int, int],
    fps: float | None,
) -> str:
    """Writes the video's upright frames with a panel below, in which a line goes with the time.

    Args:
      path: the video.
      target: an .mp4.
      panel: uint8 RGB [H, W, 3], both even; its width is that of the result.
      span: the line's x at the first and the last frame, and its upper and lower end, pixels of the panel.
      num_frames: of the video.
      box: height and width that a frame may take.
      fps: of the video; None: not known.

    Returns:
      The codec.

    Raises:
      DecodeError: the video is damaged, or cannot be written.
    """
    step = max(-(-num_frames // MAX_FRAMES), math.ceil((fps or _RATE) / _MAX_RATE), 1)
    first, last, top, bottom = span

    def drawn() -> Iterator[np.ndarray]:
        for i, frame in enumerate(decode.iterate_frames(path, accept_damaged=True)):
            if i % step:
                continue
            rows, columns = fitted(frame.shape[0], frame.shape[1], box)
            canvas = np.full((box[0] + len(panel), panel.shape[1], 3), _BACKGROUND, np.uint8)
            y, x = (box[0] - rows) // 2, (panel.shape[1] - columns) // 2
            canvas[y : y + rows, x : x + columns] = decode.resize(frame, (rows, columns))
            canvas[box[0] :] = panel
            at = round(first + (last - first) * min(i / max(num_frames - 1, 1), 1.0))
            cv2.line(canvas, (at, box[0] + top), (at, box[0] + bottom), _CURSOR, 2, cv2.LINE_AA)
            yield canvas

    return write_playable(target, drawn(), (fps or _RATE) / step)


def stills(path: str | os.PathLike[str], frames: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """Upright frames by number: uint8 RGB [N, H, W, 3], fitted into a box of (height, width).

    Raises:
      DecodeError: the video is damaged, or shorter.
    """
    wanted = np.asarray(frames)
    kept: dict[int, np.ndarray] = {}
    for i, frame in enumerate(decode.iterate_frames(path, accept_damaged=True)):
        if i in wanted:
            kept[i] = decode.resize(frame, fitted(frame.shape[0], frame.shape[1], box))
    return np.stack([kept[int(i)] for i in wanted])
