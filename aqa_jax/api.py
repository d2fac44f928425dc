"""A trained model in Python: ``aqa_jax.load(run).score(video)``, with the verbs of the command line."""

import hashlib
import math
import os
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aqa_jax import compilation
from aqa_jax import config as config_lib
from aqa_jax.bundle import is_bundle, read_config
from aqa_jax.config import Config
from aqa_jax.data import checksums, cores, decode
from aqa_jax.errors import AqaError, ConfigError, DataError
from aqa_jax.explain.explanation import Explanation
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.predict.ensemble import EnsembleScorer, make_scorer
from aqa_jax.predict.facts import Facts, read_facts
from aqa_jax.predict.inputs import check_file
from aqa_jax.predict.predict import check_difficulty
from aqa_jax.predict.rows import DecodedVideo, is_finite, row_of
from aqa_jax.predict.sandbox import Sandbox
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trust import Reported
from aqa_jax.predict.video_clips import VideoClips, choose_frames, read_clips
from aqa_jax.quiet import only_errors

Video = str | os.PathLike[str] | np.ndarray
"""A video file, or its upright frames: uint8 RGB [F, H, W, 3]."""
_MOST_THREADS = 16


@dataclass(frozen=True)
class VideoScore:
    """The predicted distribution of one video's score, in score points.

    Attributes:
      score: the score.
      mean: of the distribution.
      sigma: its standard deviation, recalibrated where the run has learnt how.
      difficulty: that was given; None: none.
      out_of_training_range: no training video had a score this low or this high.
      unfamiliar: the video is unlike the training videos, so that the score is not to be trusted; None: not judged.
      row: all of this as the video's row in scores.json (docs/predict.md).
      distribution: the head's own, before any recalibration; arrays [1].
    """

    score: float
    mean: float
    sigma: float
    difficulty: float | None
    out_of_training_range: bool
    unfamiliar: bool | None
    row: dict[str, Any]
    distribution: ScoreDistribution
    _told: Reported
    _place: int

    def interval(self, level: float) -> tuple[float, float]:
        """The central interval that holds a share ``level`` (0 to 1)."""
        low, high = self._told.interval(level)
        return float(low[self._place]), float(high[self._place])

    def __str__(self) -> str:
        low, high = self.interval(0.9)
        return f"{self.score:.2f} ± {self.sigma:.2f} (90 %: {low:.2f} to {high:.2f})"


class Model:
    """A run, a cross-validation or a bundle, ready to score. Threads may not share it."""

    def __init__(self, scorer: RunScorer | EnsembleScorer, sandbox: Sandbox):
        """``sandbox`` is where files are decoded."""
        self.scorer = scorer
        self._sandbox = sandbox
        self._size = scorer.config.predict.batch_size or scorer.batch_size
        # Ends the decoding processes with the model.
        self._close = weakref.finalize(self, sandbox.__exit__)

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes that decode; the model scores no more files."""
        self._close()

    @property
    def config(self) -> Config:
        """The run's."""
        return self.scorer.config

    @property
    def needs_difficulty(self) -> bool:
        """Whether the head multiplies by a given difficulty."""
        return self.scorer.needs_difficulty

    def describe(self) -> dict[str, Any]:
        """What identifies the model, as in scores.json."""
        return self.scorer.describe()

    def score(self, video: Video, difficulty: float | None = None, *, fps: float | None = None) -> VideoScore:
        """The score of one video.

        Args:
          video: a file, which is decoded in a process of its own, or frames uint8 RGB [F, H, W, 3].
          difficulty: of the action, where :attr:`needs_difficulty`.
          fps: of frames, for reports; it does not change the score.

        Raises:
          ConfigError: the difficulty is missing, or no positive number.
          DataError: the video cannot be scored; DecodeError: it cannot be read; ChecksumError: it is another than its
            folder's SHA256SUMS records.
        """
        (told,) = self._scores([self._decoded(video, difficulty, fps)])
        if isinstance(told, AqaError):
            raise told
        return told

    def score_many(
        self, videos: Iterable[Video], difficulty: float | Sequence[float] | None = None
    ) -> list["VideoScore | AqaError"]:
        """The scores of many videos, in their order; in the place of one that cannot be scored is its error.

        Args:
          videos: as in :meth:`score`; of files few are held in memory at once.
          difficulty: of all, or of each.

        Raises:
          ConfigError: one video is given, a difficulty is missing or no positive number, or there are not as many as
            videos.
        """
        if isinstance(videos, str | os.PathLike | np.ndarray):
            raise ConfigError("score_many takes a list of videos; score takes one.")
        videos = list(videos)
        given = list(difficulty) if isinstance(difficulty, Iterable) else [difficulty] * len(videos)
        if len(given) != len(videos):
            raise ConfigError(f"{len(videos)} videos, {len(given)} difficulties: give one for all, or one for each.")
        for one in given:
            self._check_given(one)
        found: list[VideoScore | AqaError] = []
        recorded = checksums.Checksums()
        threads = min(cores(), _MOST_THREADS)
        at_once = -(-threads // self._size) * self._size
        with ThreadPoolExecutor(threads, "decode") as pool:
            for start in range(0, len(videos), at_once):
                part = slice(start, start + at_once)
                decoded = list(pool.map(self._decoded_or_error, videos[part], given[part], repeat(recorded)))
                good = [one for one in decoded if isinstance(one, DecodedVideo)]
                scores = (
                    told
                    for first in range(0, len(good), self._size)
                    for told in self._scores(good[first : first + self._size])
                )
                found += [one if isinstance(one, AqaError) else next(scores) for one in decoded]
        return found

    def explain(self, video: Video, difficulty: float | None = None, *, cam: bool = True) -> Explanation:
        """Why a video gets its score: see :func:`aqa_jax.explain.explain.explain`."""
        from aqa_jax.explain.explain import explain

        decoded = self._decoded(video, difficulty, None)
        return explain(self.scorer, decoded.clips, decoded.difficulty, cam=cam)

    def report(
        self, video: Video, path: str | os.PathLike[str], difficulty: float | None = None, *, fps: float | None = None
    ) -> VideoScore:
        """Writes the video's report, one HTML file without outside references, to ``path``; returns the score."""
        from aqa_jax.explain.explain import explain
        from aqa_jax.report.video import write_video_report

        decoded = self._decoded(video, difficulty, fps)
        (told,) = self._scores([decoded])
        if isinstance(told, AqaError):
            raise told
        shows = self.config.report
        write_video_report(
            path, row=told.row, model=self.describe(), clips=decoded.clips,
            explanation=explain(self.scorer, decoded.clips, decoded.difficulty),
            training_scores=self.scorer.trained_on.get("scores"), thumbnails=shows.thumbnails, names=shows.names,
        )  # fmt: skip
        return told

    def _check_given(self, difficulty: float | None) -> None:
        if self.needs_difficulty and difficulty is None:
            raise ConfigError(
                "This model multiplies by the difficulty of the action: give difficulty=3.0, or the like."
            )
        if self.needs_difficulty and not 0 < float(difficulty or 0) < math.inf:
            raise ConfigError(f"A difficulty is a positive number, not {difficulty}.")

    def _decoded_or_error(
        self, video: Video, difficulty: float | None, recorded: checksums.Checksums
    ) -> DecodedVideo | AqaError:
        try:
            return self._decoded(video, difficulty, None, recorded)
        except OSError as error:
            return DataError(f"{video}: {error.strerror}")
        except AqaError as error:
            return error

    def _decoded(
        self, video: Video, difficulty: float | None, fps: float | None, recorded: checksums.Checksums | None = None
    ) -> DecodedVideo:
        self._check_given(difficulty)
        difficulty = None if not self.needs_difficulty or difficulty is None else float(difficulty)
        form = self.scorer.input_format
        if isinstance(video, np.ndarray):
            check_difficulty("the video", difficulty, self.scorer.known_difficulties)
            return _of_frames(video, form.window, form.frame_size, form.crop_size, difficulty, fps)
        path = Path(video)
        check_difficulty(str(path), difficulty, self.scorer.known_difficulties)
        check_file(path)
        # Where none are given, they are read anew: a model may live for days beside files that change.
        expected = (recorded or checksums.Checksums()).of(path)
        sha256 = checksums.digest(path)
        checksum = checksums.compare(path, sha256, expected)
        clips = read_clips(path, form.window, form.frame_size, form.crop_size, sandbox=self._sandbox)
        return DecodedVideo(str(path), clips, read_facts(path, self._sandbox), sha256, difficulty, checksum)

    def _scores(self, videos: list[DecodedVideo]) -> list[VideoScore | AqaError]:
        """Of one batch at most."""
        # One batch size is one compilation, and the same program as the command line's.
        padded = videos + videos[-1:] * (self._size - len(videos))
        given = [one.difficulty for one in padded if one.difficulty is not None]
        told = self.scorer.score(
            np.stack([one.clips.video for one in padded]), np.array(given, np.float32) if given else None
        )
        return [self._score_of(one, told, i) for i, one in enumerate(videos)]

    def _score_of(self, video: DecodedVideo, told: Reported, i: int) -> VideoScore | AqaError:
        if not is_finite(told, i):
            return DataError(f"{video.file}: the model's score is not finite: is the checkpoint damaged?")
        row = row_of(video, told, i, self.scorer.trained_on["score_range"])
        kept = ("score", "mean", "sigma", "difficulty", "out_of_training_range", "unfamiliar")
        raw = jax.tree.map(lambda x: np.asarray(x)[i : i + 1], told.raw)
        return VideoScore(**{name: row[name] for name in kept}, row=row, distribution=raw, _told=told, _place=i)


def load(path: str | os.PathLike[str], **settings: Any) -> Model:
    """A trained model.

    Args:
      path: the workdir of a run or of a cross-validation, or a bundle.
      settings: keys of ``config.predict``, as ``dtype="bfloat16"``.

    Raises:
      ConfigError: there is no run, or a setting is unknown or impossible.
      CheckpointError: the run has no checkpoint.
      BundleError: the bundle is damaged.
    """
    path = Path(path)
    # What run.py does; but where somebody has chosen a cache, that is theirs.
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        compilation.prepare()
    if not path.exists():
        raise ConfigError(f"{path} does not exist: give a run's --workdir, or a bundle.")
    values = read_config(path) if is_bundle(path) else config_lib.read_json(path / "config.json")
    values = values.to_dict()
    known = values["predict"] if isinstance(values.get("predict"), dict) else {}
    values["predict"] = known | settings
    config = config_lib.resolve(values)
    with only_errors():  # Orbax warns of a file that it does without.
        scorer = make_scorer(config, path)
    return Model(scorer, Sandbox(config.predict.decode_seconds, config.predict.decode_mb))


def _of_frames(
    frames: np.ndarray,
    window: Any,
    frame_size: tuple[int, int],
    crop_size: tuple[int, int],
    difficulty: float | None,
    fps: float | None,
) -> DecodedVideo:
    """Frames uint8 RGB [F, H, W, 3] as a file with them would be read."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise DataError(f"frames are uint8 RGB [F, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    if fps is not None and not 0 < fps < math.inf:
        raise DataError(f"fps is a positive number of frames a second, not {fps}")
    chosen, tempo = choose_frames(len(frames), window)
    top, left = ((size - crop) // 2 for size, crop in zip(frame_size, crop_size, strict=True))
    small = {int(n): decode.resize(frames[n], frame_size) for n in np.unique(chosen)}
    clips = np.stack([[small[int(n)] for n in clip] for clip in chosen])
    clips = np.ascontiguousarray(clips[:, :, top : top + crop_size[0], left : left + crop_size[1]])
    facts = Facts(fps, frames.shape[2], frames.shape[1], "")
    digest = hashlib.sha256(np.ascontiguousarray(frames).reshape(-1).data).hexdigest()
    return DecodedVideo("frames", VideoClips(clips, len(frames), tempo), facts, digest, difficulty)
