"""How far a run's scores of new videos can be trusted: what its final evaluation learnt, applied."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.evaluate import familiarity as familiarities
from aqa_jax.evaluate import recalibration as recalibrations
from aqa_jax.evaluate.calibration import LEVELS, gaussian_interval
from aqa_jax.evaluate.familiarity import Familiarity, Parts
from aqa_jax.evaluate.recalibration import Recalibration
from aqa_jax.models.scores import ScoreDistribution

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reported:
    """What is said of each video of a batch; numpy arrays [B], in score points.

    Attributes:
      point: the score.
      mean: of the predicted distribution.
      sigma: recalibrated, if there is a recalibration.
      raw: the head's own distribution.
      raw_intervals: its central intervals [B, L, 2] at ``LEVELS``, where they were made with it.
      recalibration: that of the intervals; None: they are raw.
      distance: to the training videos, in feature space; None if not judged.
      unfamiliar: whether that is too far.
    """

    point: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray
    raw: ScoreDistribution
    recalibration: Recalibration | None = None
    distance: np.ndarray | None = None
    unfamiliar: np.ndarray | None = None
    raw_intervals: np.ndarray | None = None

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """The central interval that holds a share ``level``: two [B] arrays.

        Conformal at the levels that were learnt; at others, or raw, the distribution's own.
        """
        percent = round(100 * level, 6)
        place = LEVELS.index(int(percent)) if percent in LEVELS else None
        if self.recalibration is None:
            if self.raw_intervals is not None and place is not None:
                return self.raw_intervals[:, place, 0], self.raw_intervals[:, place, 1]
            low, high = self.raw.interval(level)
            return np.asarray(low), np.asarray(high)
        if place is None:
            return gaussian_interval(self.mean, self.sigma, level)
        centre = getattr(self, self.recalibration.centre)
        pair = self.recalibration.intervals(centre, np.asarray(self.raw.sigma))[:, place]
        return pair[:, 0], pair[:, 1]


@dataclass(frozen=True)
class Trust:
    """What is known of a run beside its weights.

    Attributes:
      recalibration: of sigma and intervals; None: they are raw, because of ``why_raw``.
      why_raw: in words.
      familiarity: what a familiar video is; None: not judged.
    """

    recalibration: Recalibration | None = None
    why_raw: str = ""
    familiarity: Familiarity | None = None

    @classmethod
    def of_run(cls, config: Config, workdir: Path, step: int) -> "Trust":
        """What ``workdir/evaluation`` holds for the weights of ``step`` under ``config``.

        What belongs to another step or config is not used.

        Raises:
          DataError: a file there is damaged.
        """
        if config.evaluate.views > 1:
            return cls(None, f"the evaluation averaged {config.evaluate.views} views of a video, a file gets one")
        folder, owner = workdir / "evaluation", {"step": step, "config_hash": config_lib.fingerprint(config)}
        recalibration, why_raw = _owned(folder / "recalibration.json", recalibrations.read, owner)
        familiarity, _ = _owned(folder / "familiarity.npz", familiarities.read, owner)
        return cls(recalibration, why_raw, familiarity)

    def describe(self) -> dict[str, Any]:
        """For result files."""
        words = f"raw: {self.why_raw}" if self.recalibration is None else self.recalibration.words
        return {"intervals": words, "familiarity": self.familiarity.words if self.familiarity else "not judged"}

    def report(
        self, raw: ScoreDistribution, parts: Parts, *, mode: bool = False, intervals: np.ndarray | None = None
    ) -> Reported:
        """What is said of videos with distributions ``raw`` [B] and these ``parts``; the score is the mean or mode.

        ``intervals`` [B, L, 2] are those of ``raw`` at ``LEVELS``, where they are known already.
        """
        mean, sigma = np.asarray(raw.mean), np.asarray(raw.sigma)
        point = np.asarray(raw.most_likely) if mode else mean
        distance = unfamiliar = None
        if self.familiarity is not None:
            distance = self.familiarity.distance(parts)
            unfamiliar = self.familiarity.unfamiliar(distance)
        temperature = 1.0 if self.recalibration is None else self.recalibration.temperature
        return Reported(point, mean, temperature * sigma, raw, self.recalibration, distance, unfamiliar, intervals)


def _owned(
    path: Path, read: Callable[[Path], tuple[_T, dict[str, Any]]], owner: dict[str, Any]
) -> tuple[_T | None, str]:
    """What a file holds if it is of this ``owner``, else None and the reason."""
    if not path.exists():
        return None, f"the run's evaluation left no {path.name}"
    learnt, found = read(path)
    if any(found.get(key) != value for key, value in owner.items()):
        return None, f"{path.name} belongs to another step or config: --mode evaluate writes it again"
    return learnt, ""
