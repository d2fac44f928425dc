"""One video file as the clips that a model was trained on."""

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from aqa_jax.data import decode
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import DataError, DecodeError
from aqa_jax.predict.sandbox import Sandbox

_SAID = re.compile(r"\[OPENCV:FFMPEG:(-?\d+)\] (.*)")
_ERROR = 16
# Healthy containers miscount by one where they only keep a duration.
_MISSING = 2
_SHOWN = 3
_MADE_UP = re.compile("^concealing |EOI missing")
# Of the container, in files of healthy cameras.
_HARMLESS = re.compile("chapter track")


@dataclass(frozen=True)
class VideoClips:
    """A file's clips, and how they were taken.

    Attributes:
      video: uint8 RGB [S, T, H, W, 3].
      num_frames: frames in the file.
      tempo: how much faster the action runs in the clips than in the file; 1 if frames come as they are.
      damage: frames that are missing, and what the decoder complained of, in its own words: parts of some frames are
        then made up. Empty where nothing was found; decoders are only listened to in a sandbox.
    """

    video: np.ndarray
    num_frames: int
    tempo: float
    damage: tuple[str, ...] = ()

    @property
    def resampled(self) -> bool:
        """Whether the whole action was stretched or squeezed into the window."""
        return self.tempo != 1

    @property
    def damage_in_words(self) -> str | None:
        """The first of `damage`, in one line; None where there is none."""
        more = f" ({len(self.damage) - _SHOWN} more)" if len(self.damage) > _SHOWN else ""
        return "; ".join(self.damage[:_SHOWN]) + more if self.damage else None


def choose_frames(num_frames: int, window: ClipWindow) -> tuple[np.ndarray, float]:
    """Frame numbers int64 [S, T] for a video of any length, and the change of tempo.

    With at least the window's frames, and at most `max_shift` more, the window lies in the middle. Any other
    length is taken for one whole action and spread evenly over the window: a changed tempo, unless the model was
    trained on windows spread over whole videos.

    Raises:
      DataError: fewer than two frames.
    """
    if num_frames < 2:
        raise DataError(f"a video of {num_frames} frame shows no action: at least two are needed")
    spare = num_frames - window.window
    if window.spread and spare >= 0:
        return window.evaluate(num_frames, 0), 1.0
    if 0 <= spare <= window.max_shift:
        return window.frames(spare // 2), 1.0
    positions = np.round(np.linspace(0, num_frames - 1, window.window)).astype(np.int64)
    return positions[window.frames(0)], (num_frames - 1) / max(window.window - 1, 1)


def read_clips(
    path: str | os.PathLike[str],
    window: ClipWindow,
    frame_size: tuple[int, int],
    crop_size: tuple[int, int],
    *,
    sandbox: Sandbox | None = None,
) -> VideoClips:
    """Decodes a file into clips as the training data were made: resized, cropped in the centre.

    Memory is that of the chosen frames at `crop_size`, however long the file. Sizes are (height, width).

    Args:
      path: video file.
      window: the frames that a model takes.
      frame_size: that frames are resized to.
      crop_size: cut from their centre.
      sandbox: where the file is decoded; None: in this process, for files of one's own.

    Raises:
      DecodeError: not a video, or damaged; or it broke the sandbox's limits.
      DataError: fewer than two frames.
    """
    if sandbox is None:
        video, num_frames, claimed = _decoded(path, window, frame_size, crop_size)
        messages: list[str] = []
    else:
        result, messages = sandbox.call_listening(_decoded, path, window, frame_size, crop_size)
        shape = window.num_clips, window.clip_length, *crop_size, 3
        video, num_frames, claimed = _trusted(path, result, shape)
    damage = _complaints(messages)
    if claimed - num_frames >= _MISSING:
        damage = (f"{num_frames} of {claimed} frames can be decoded", *damage)
    return VideoClips(video, num_frames, choose_frames(num_frames, window)[1], damage)


def _decoded(
    path: str | os.PathLike[str], window: ClipWindow, frame_size: tuple[int, int], crop_size: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """Clips uint8 [S, T, H, W, 3], the number of frames in the file, and the number that it claims."""
    (height, width), (rows, columns) = frame_size, crop_size
    crop = (height - rows) // 2, (width - columns) // 2, rows, columns
    try:
        return decode.choose_and_read(path, lambda count: choose_frames(count, window)[0], size=frame_size, crop=crop)
    except DecodeError:
        raise
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _trusted(path: str | os.PathLike[str], result: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, int, int]:
    """What came from the sandbox, if it is what was asked for."""
    if isinstance(result, tuple) and len(result) == 3:
        video, num_frames, claimed = result
        right = isinstance(video, np.ndarray) and video.dtype == np.uint8 and video.shape == shape
        if right and type(num_frames) is int and 2 <= num_frames < 2**40 and type(claimed) is int:
            return video, num_frames, claimed
    raise DecodeError(f"{path}: the decoding process sent something else than clips: the file is hostile")


def _complaints(messages: list[str]) -> tuple[str, ...]:
    """What tells of damage, of what FFmpeg said: errors, and where it made up what it could not decode."""
    found = (_SAID.match(line) for line in messages)
    said = [(int(match[1]), match[2].strip()) for match in found if match]
    return tuple(
        text for level, text in said if (level <= _ERROR or _MADE_UP.search(text)) and not _HARMLESS.search(text)
    )
