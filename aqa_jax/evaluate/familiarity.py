"""Is a video like those that the model was trained on? A score of anything else means nothing, however sure it looks.

A video is described by channel means of the backbone: of its first Inception module and of its last (the feature that
is scored), each channel in units of its standard deviation over the training videos. Its distance is the mean Euclidean
distance to the k nearest training videos (Sun et al. 2022, "Out-of-distribution detection with deep nearest
neighbors"); above a threshold it is unfamiliar: the quantile `level` of the distances of videos like the training ones
that were not trained on.

Why two layers: a network that learnt to score throws away what does not matter for the score, and noise then looks like
any dive to its last layer. Lee et al. 2018 ("A simple unified framework for detecting out-of-distribution samples and
adversarial attacks") use channel means of all layers for that reason.
"""

import dataclasses
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax.errors import DataError
from aqa_jax.files import replacing

SCHEMA = "aqa_jax.familiarity/1"

MAX_VIDEOS = 2000
"""Training videos at most that are kept; of more, a sample."""

Parts = Sequence[np.ndarray]
"""What describes videos: float [N, C1], [N, C2], ..., a part a layer."""

_AT_ONCE = 1024  # rows of distances in memory
_FLOOR = 0.01


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """What was learnt.

    Attributes:
      known: float32 [N, D], the training videos' descriptions, standardised. No names: nobody is identified by them.
      offset: float32 [D], of the standardisation.
      scale: float32 [D], of the standardisation.
      neighbours: k.
      threshold: the distance above which a video is unfamiliar.
      level: share of the videos behind the threshold that lie below it.
      learnt_on: which videos these were, and how many.
    """

    known: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    neighbours: int
    threshold: float
    level: float
    learnt_on: str

    def distance(self, parts: Parts) -> np.ndarray:
        """Mean distance of videos with these ``parts`` to the nearest training videos' [B].

        Raises:
          DataError: they are another model's.
        """
        described = np.concatenate(parts, 1)
        if described.shape[1] != len(self.offset):
            raise DataError(f"{described.shape[1]} channels describe a video, but {len(self.offset)} in the file")
        return _nearest((described - self.offset) / self.scale, self.known, self.neighbours)

    def unfamiliar(self, distance: np.ndarray) -> np.ndarray:
        """Whether each is above the threshold: bool [B]."""
        return distance > self.threshold

    @property
    def words(self) -> str:
        """In one line, for people."""
        return (
            f"mean distance to the {self.neighbours} nearest of {len(self.known)} training videos; unfamiliar above "
            f"{self.threshold:.4g}, the {self.level:g} quantile of {self.learnt_on}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the arrays."""
        kept = ("neighbours", "threshold", "level", "learnt_on")
        return {"training_videos": len(self.known), **{name: getattr(self, name) for name in kept}}


def learn(training: Parts, validation: Parts | None = None, *, neighbours: int, level: float) -> Familiarity:
    """From the descriptions of the training and the validation videos.

    Without validation videos each training video is measured against the others: a network fits its training videos,
    so new ones lie farther off, and more than 1 - ``level`` of them will be flagged. ``learnt_on`` says so.

    Raises:
      DataError: fewer than two training videos.
    """
    described = np.concatenate(training, 1)
    if len(described) < 2:
        raise DataError(f"{len(described)} training videos: at least 2 are needed to say what is near")
    offset = described.mean(0).astype(np.float32)
    scale = np.concatenate([_scale(part) for part in training]).astype(np.float32)
    known = ((described - offset) / scale).astype(np.float32)
    if validation is not None and len(validation[0]):
        distances = _nearest((np.concatenate(validation, 1) - offset) / scale, known, neighbours)
        learnt_on = f"{len(distances)} validation videos"
    else:
        distances = _nearest(known, known, neighbours, leave_one_out=True)
        learnt_on = f"the {len(known)} training videos themselves, each left out in turn (there is no validation split)"
    # Never between two of few distances: one of them, so that the share below is at least the level.
    threshold = float(np.quantile(distances, level, method="higher"))
    return Familiarity(known, offset, scale, min(neighbours, len(known)), threshold, level, learnt_on)


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
            content = {name: file[name] if file[name].ndim else file[name].item() for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged: {error}. --mode evaluate writes it again") from None
    if content.pop("schema", None) != SCHEMA:
        raise DataError(f"{path} is no {SCHEMA} file. --mode evaluate writes it again")
    fields = [field.name for field in dataclasses.fields(Familiarity)]
    if missing := [name for name in fields if name not in content]:
        raise DataError(f"{path} lacks {', '.join(missing)}. --mode evaluate writes it again")
    found = Familiarity(**{name: content.pop(name) for name in fields})
    arrays = [np.asarray(array) for array in (found.known, found.offset, found.scale)]
    fit = arrays[0].ndim == 2 and all(array.shape == arrays[0].shape[1:] for array in arrays[1:])
    if not fit or not all(np.isfinite(array).all() for array in arrays):
        raise DataError(f"{path} is damaged: its arrays do not fit together. --mode evaluate writes it again")
    return found, content


def _scale(part: np.ndarray) -> np.ndarray:
    """Standard deviation of each channel of a part [N, C], times sqrt(C): every part weighs the same."""
    spread = np.asarray(part, np.float64).std(0)
    # A channel that training never moves would weigh anything without end.
    floor = _FLOOR * (spread.max() or 1.0)
    return np.sqrt((np.square(spread) + floor**2) * part.shape[1])


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
