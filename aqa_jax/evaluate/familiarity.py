"""Is a video like those that the model was trained on? A score of anything else means nothing, however sure it looks.

A video's distance is the mean Euclidean distance of its L2-normalised feature to its k nearest training videos' (Sun et
al. 2022, "Out-of-distribution detection with deep nearest neighbors", who take the k-th; on the unit sphere the squared
distance is 2 - 2 cos). Above a threshold it is unfamiliar: the quantile `level` of the distances of videos like the
training ones that were not trained on.
"""

import dataclasses
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax.errors import DataError
from aqa_jax.files import replacing

SCHEMA = "aqa_jax.familiarity/1"

MAX_VIDEOS = 2000
"""Training videos at most that are kept; of more, a sample."""

_AT_ONCE = 1024  # rows of distances in memory


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """What was learnt.

    Attributes:
      features: float32 [N, C] of the training videos, each of length 1. No names: nobody is identified by them.
      neighbours: k.
      threshold: the distance above which a video is unfamiliar.
      level: share of the videos behind the threshold that lie below it.
      learnt_on: which videos these were, and how many.
    """

    features: np.ndarray
    neighbours: int
    threshold: float
    level: float
    learnt_on: str

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mean distance of features [B, C] to the nearest training videos' [B], between 0 and 2.

        Raises:
          DataError: features of another model.
        """
        if features.shape[1] != self.features.shape[1]:
            raise DataError(f"features of {features.shape[1]} channels, but {self.features.shape[1]} in the file")
        return _nearest(_normalised(features), self.features, self.neighbours)

    def unfamiliar(self, distance: np.ndarray) -> np.ndarray:
        """Whether each is above the threshold: bool [B]."""
        return distance > self.threshold

    @property
    def words(self) -> str:
        """In one line, for people."""
        return (
            f"mean distance to the {self.neighbours} nearest of {len(self.features)} training videos; unfamiliar above "
            f"{self.threshold:.4g}, the {self.level:g} quantile of {self.learnt_on}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the features."""
        kept = ("neighbours", "threshold", "level", "learnt_on")
        return {"training_videos": len(self.features), **{name: getattr(self, name) for name in kept}}


def learn(training: np.ndarray, validation: np.ndarray | None = None, *, neighbours: int, level: float) -> Familiarity:
    """From features [N, C] of training videos and [V, C] of validation videos.

    Without validation videos each training video is measured against the others: a network fits its training videos,
    so new ones lie farther off, and more than 1 - ``level`` of them will be flagged. ``learnt_on`` says so.

    Raises:
      DataError: fewer than two training videos.
    """
    if len(training) < 2:
        raise DataError(f"{len(training)} training videos: at least 2 are needed to say what is near")
    known = _normalised(training).astype(np.float32)
    if validation is not None and len(validation):
        distances = _nearest(_normalised(validation), known, neighbours)
        learnt_on = f"{len(validation)} validation videos"
    else:
        distances = _nearest(known, known, neighbours, leave_one_out=True)
        learnt_on = f"the {len(known)} training videos themselves, each left out in turn (there is no validation split)"
    # Never between two of few distances: one of them, so that the share below is at least the level.
    threshold = float(np.quantile(distances, level, method="higher"))
    return Familiarity(known, min(neighbours, len(known)), threshold, level, learnt_on)


def write(path: str | os.PathLike[str], familiarity: Familiarity, owner: Mapping[str, Any]) -> None:
    """Writes it as .npz (arrays and text, no pickle), with the checkpoint ``step`` and ``config_hash`` it holds for."""
    content = {**dataclasses.asdict(familiarity), **owner, "schema": SCHEMA}
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **{name: np.asarray(value) for name, value in content.items()})


def read(path: str | os.PathLike[str]) -> tuple[Familiarity, dict[str, Any]]:
    """What :func:`write` wrote, and its owner.

    Raises:
      DataError: the file is missing, damaged or of another schema.
    """
    if not Path(path).exists():
        raise DataError(f"{path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] if name == "features" else file[name].item() for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged: {error}. --mode evaluate writes it again") from None
    if content.pop("schema", None) != SCHEMA:
        raise DataError(f"{path} is no {SCHEMA} file. --mode evaluate writes it again")
    fields = [field.name for field in dataclasses.fields(Familiarity)]
    if missing := [name for name in fields if name not in content]:
        raise DataError(f"{path} lacks {', '.join(missing)}. --mode evaluate writes it again")
    found = Familiarity(**{name: content.pop(name) for name in fields})
    if found.features.ndim != 2 or not np.isfinite(found.features).all() or not np.isfinite(found.threshold):
        raise DataError(f"{path} is damaged: its features are no finite [N, C]. --mode evaluate writes it again")
    return found, content


def _normalised(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    # A feature of zeros has no direction: it stays, at distance 1 from all others.
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _nearest(queries: np.ndarray, known: np.ndarray, neighbours: int, *, leave_one_out: bool = False) -> np.ndarray:
    """Mean distance of each query [Q, C] to its nearest ``known`` [N, C]: [Q]."""
    known = np.asarray(known, np.float64)
    count = min(neighbours, len(known) - leave_one_out)
    squares = np.square(known).sum(1)
    result = []
    for start in range(0, len(queries), _AT_ONCE):
        part = np.asarray(queries[start : start + _AT_ONCE], np.float64)
        squared = np.square(part).sum(1)[:, None] + squares[None] - 2 * part @ known.T
        if leave_one_out:
            squared[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        nearest = np.partition(squared, count - 1, axis=1)[:, :count]
        result.append(np.sqrt(np.maximum(nearest, 0)).mean(1))
    return np.concatenate(result) if result else np.zeros(0)
