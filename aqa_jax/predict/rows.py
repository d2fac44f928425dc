"""What is said of one scored video: its row of scores.json (docs/predict.md)."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from aqa_jax.data import checksums
from aqa_jax.predict.facts import Facts
from aqa_jax.predict.video_clips import VideoClips

INTERVALS = (50, 90)
"""Levels of the reported central intervals, in per cent."""


class Distribution(Protocol):
    """Predicted scores of a batch: mean and sigma are [B], in score points.

    It may have further arrays [B]: ``point``, the score where that is not the mean, and ``distance`` and
    ``unfamiliar`` (:class:`aqa_jax.predict.trust.Reported`).
    """

    @property
    def mean(self) -> Any:
        """[B]."""

    @property
    def sigma(self) -> Any:
        """[B]."""

    def interval(self, level: float) -> tuple[Any, Any]:
        """The central interval that holds a share `level`: two [B] arrays."""


@dataclass(frozen=True)
class DecodedVideo:
    """A video that is ready to be scored.

    Attributes:
      file: its path as it was given, or what it is called.
      clips: what the model sees.
      facts: of the file.
      sha256: of its content.
      difficulty: of the action; None: not given.
      checksum: whether a recorded checksum vouches for the content, as :func:`aqa_jax.data.checksums.compare` has it.
    """

    file: str
    clips: VideoClips
    facts: Facts
    sha256: str
    difficulty: float | None
    checksum: str = checksums.NONE


def points(told: Distribution) -> np.ndarray:
    """The scores [B]."""
    return np.asarray(getattr(told, "point", told.mean))


def is_finite(told: Distribution, i: int) -> bool:
    """Whether video ``i`` of a batch has a score."""
    return bool(np.isfinite(points(told)[i]) and np.isfinite(np.asarray(told.sigma)[i]))


def row_of(video: DecodedVideo, told: Distribution, i: int, score_range: tuple[float, float] | None) -> dict[str, Any]:
    """The row of video ``i`` of a batch.

    Args:
      video: the video.
      told: of the batch.
      i: its place there.
      score_range: lowest and highest score in training; a score outside is flagged.
    """
    score, rate = plain(points(told)[i]), video.facts.fps
    limits: dict[str, float] = {}
    for level in INTERVALS:
        low, high = told.interval(level / 100)
        limits |= {f"low{level}": plain(np.asarray(low)[i]), f"high{level}": plain(np.asarray(high)[i])}
    distance, unfamiliar = getattr(told, "distance", None), getattr(told, "unfamiliar", None)
    return {
        "file": video.file,
        "score": score,
        "mean": plain(np.asarray(told.mean)[i]),
        "sigma": plain(np.asarray(told.sigma)[i]),
        **limits,
        "difficulty": video.difficulty,
        "out_of_training_range": score_range is not None and not score_range[0] <= score <= score_range[1],
        "distance": None if distance is None else plain(distance[i]),
        "unfamiliar": None if unfamiliar is None else bool(unfamiliar[i]),
        "frames": video.clips.num_frames,
        "tempo": video.clips.tempo,
        "resampled": video.clips.resampled,
        "fps": rate,
        "seconds": None if rate is None else round(video.clips.num_frames / rate, 3),
        "width": video.facts.width,
        "height": video.facts.height,
        "codec": video.facts.codec,
        "damage": video.clips.damage_in_words,
        "sha256": video.sha256,
        "checksum": video.checksum,
    }


def plain(value: Any) -> float:
    """The shortest decimal number that restores a float32."""
    return float(str(np.float32(value)))
