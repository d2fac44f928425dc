"""What a head may ask of the training table before the first step: units, difficulties, marks, bins that fit."""

import numpy as np

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import DataError
from aqa_jax.models.heads.base import Labels
from aqa_jax.models.heads.panel import MEMBERS

# Labels that use less than this share of the bins were meant for others: marks of 0 to 10 in bins up to 104.5.
_LEAST_SHARE_OF_BINS = 0.1


def location(values: np.ndarray, settings: HeadConfig) -> tuple[float, float]:
    """Mean and spread of ``values``, or 0 and 1 where the settings do not standardise.

    Raises:
      DataError: all values are the same.
    """
    if not settings.standardise:
        return 0.0, 1.0
    check_differ(values)
    return float(np.mean(values)), float(np.std(values))


def check_differ(values: np.ndarray) -> None:
    """Raises DataError where all ``values`` are the same."""
    if not np.std(values) > 0:
        raise DataError("All training scores are the same: there is nothing to learn from them.")


def check_difficulty(labels: Labels, name: str, instead: str = "config.head.times_difficulty=False") -> np.ndarray:
    """``labels['difficulty']`` [N]; the head ``name`` does without them by setting ``instead``.

    Raises:
      DataError: a video has none.
    """
    difficulty = labels["difficulty"]
    missing = int(np.sum(~(difficulty > 0)))
    if missing:
        raise DataError(
            f"{name} multiplies by the difficulty, but {missing} of {len(difficulty)} training videos have none: set "
            f"{instead}, use another head (docs/heads.md), or a dataset with difficulties."
        )
    return difficulty


def check_marks(labels: Labels, settings: HeadConfig, name: str) -> np.ndarray:
    """The judges' marks, or the items', of every training video: [N, J], as many as ``settings.panel`` has.

    Raises:
      DataError: there are none, too few or too many.
    """
    judges, marks = MEMBERS[settings.panel], labels.get("judges")
    if marks is None or marks.ndim != 2 or not marks.shape[1]:
        found = "no marks"
    elif marks.shape[1] != judges:
        found = f"{marks.shape[1]} a video"
    elif missing := int((~np.isfinite(marks)).any(-1).sum()):
        found = f"too few for {missing} of {len(marks)} training videos"
    else:
        return marks
    raise DataError(
        f"{name} with config.head.panel={settings.panel} needs {judges} marks for every training video; this dataset "
        f"has {found}. Is config.head.panel the dataset's (middle3: diving's seven judges; sum: JIGSAWS's six items)? "
        "Diving's annotations must be a file with judge_scores (MUSDL's or CoRe's). Without marks use "
        "another head (docs/heads.md)."
    )


def check_bins(values: np.ndarray, settings: HeadConfig, what: str) -> None:
    """Looks whether the bins suit the training labels.

    Args:
      values: the labels, any shape.
      settings: the bins, from ``lowest`` to ``highest``.
      what: the labels' name.

    Raises:
      DataError: a label lies beyond the bins, or all lie in a tenth of them.
    """
    check_differ(values)
    low, high = float(values.min()), float(values.max())
    half = (settings.highest - settings.lowest) / (settings.bins - 1) / 2
    inside = settings.lowest - half <= low and high <= settings.highest + half
    if inside and high - low >= _LEAST_SHARE_OF_BINS * (settings.highest - settings.lowest):
        return
    raise DataError(
        f"The training videos' {what} run from {low:g} to {high:g}, the head's bins from {settings.lowest:g} to "
        f"{settings.highest:g}: set config.head.lowest, config.head.highest and config.head.bins to what {what} can be."
    )
