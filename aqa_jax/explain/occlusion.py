"""What a segment's clip is replaced with, to see what the score would be without it."""

from typing import Literal

import numpy as np

Fill = Literal["mean", "blend", "neighbours"]


def filled(video: np.ndarray, frames: np.ndarray, fill: Fill) -> np.ndarray:
    """Every clip's replacement: uint8 [S, T, H, W, 3].

    Args:
      video: uint8 [S, T, H, W, 3].
      frames: int64 [S, T], their numbers in the file.
      fill: ``mean``: the mean of all other clips' frames, standing still; ``blend``: from the last frame before the
        clip to the first one after it, crossfaded.
    """
    return np.stack([_still(video, s) if fill == "mean" else _blended(video, frames, s) for s in range(len(video))])


def _still(video: np.ndarray, segment: int) -> np.ndarray:
    others = np.delete(video, segment, 0) if len(video) > 1 else video
    mean = np.round(others.mean((0, 1))).astype(np.uint8)
    return np.broadcast_to(mean, video.shape[1:])


def _blended(video: np.ndarray, frames: np.ndarray, segment: int) -> np.ndarray:
    numbers, pixels = frames.reshape(-1), video.reshape(-1, *video.shape[2:]).astype(np.float32)
    own = frames[segment]
    before, after = np.flatnonzero(numbers < own.min()), np.flatnonzero(numbers > own.max())
    if not len(before) and not len(after):
        return _still(video, segment)
    first = before[np.argmax(numbers[before])] if len(before) else after[np.argmin(numbers[after])]
    last = after[np.argmin(numbers[after])] if len(after) else first
    span = max(int(numbers[last] - numbers[first]), 1)
    part = np.clip((own - numbers[first]) / span, 0, 1).astype(np.float32).reshape(-1, 1, 1, 1)
    return np.round((1 - part) * pixels[first][None] + part * pixels[last][None]).astype(np.uint8)
