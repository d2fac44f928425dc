"""Scores every file of a list, and writes scores.json and scores.csv."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from tqdm import tqdm

from aqa_jax.data import cores
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import AqaError, DataError
from aqa_jax.evaluate.results import versions
from aqa_jax.files import write_csv, write_json
from aqa_jax.predict.inputs import Inputs
from aqa_jax.predict.sandbox import MEGABYTES, SECONDS, Sandbox
from aqa_jax.predict.video_clips import VideoClips, read_clips

SCORES_SCHEMA = "aqa_jax.scores/1"
INTERVALS = (50, 90)
"""Levels of the reported central intervals, in per cent."""
# A decoded video of ten clips takes 24 MB, and one a thread waits.
_MOST_THREADS = 16


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


class Scorer(Protocol):
    """A trained model: always called with the same batch size."""

    def prepare(self, batch_size: int) -> None:
        """Compiles what `score` runs, while the first videos are decoded."""

    def score(self, video: np.ndarray, difficulty: np.ndarray | None, *, plain: bool = False) -> Distribution:
        """Video uint8 [B, S, T, H, W, 3] and difficulty float32 [B] to scores.

        With `plain`, in float32 and by the model as it was trained: the slower way, that the other is checked by.
        """


@dataclass(frozen=True)
class InputFormat:
    """What the model takes: which frames, resized to frame_size, then cropped; (height, width) in pixels."""

    window: ClipWindow
    frame_size: tuple[int, int]
    crop_size: tuple[int, int]


@dataclass
class Check:
    """The largest differences, in score points, between the scores and those of the plain model."""

    videos: int = 0
    score: float = 0.0
    sigma: float = 0.0
    against: ClassVar[str] = "the model in float32, its batch normalisation not folded"

    def add(self, told: Distribution, plain: Distribution, videos: int) -> None:
        """Counts the first `videos` of a batch; differences that are not finite are left out, as their scores are."""

        def largest(one: Any, other: Any) -> float:
            difference = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64))[:videos]
            return float(np.max(difference, initial=0.0, where=np.isfinite(difference)))

        self.videos += videos
        self.score = max(self.score, largest(_point(told), _point(plain)))
        self.sigma = max(self.sigma, largest(told.sigma, plain.sigma))

    @property
    def words(self) -> str:
        """For the terminal."""
        return (
            f"scores differ by {self.score:.2g} points at most, sigmas by {self.sigma:.2g}, from those of "
            f"{self.against} ({self.videos} videos)"
        )

    def to_dict(self) -> dict[str, Any]:
        """For scores.json."""
        return {
            "against": self.against,
            "videos": self.videos,
            "largest_difference": {"score": self.score, "sigma": self.sigma},
        }


@dataclass
class Report:
    """What came out: a row a file that was scored, and the error of each that was not; the check, if asked for."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    check: Check | None = None

    @property
    def exit_code(self) -> int:
        """1 if any file failed, else 0."""
        return int(bool(self.errors))


def predict(
    inputs: Inputs,
    scorer: Scorer,
    output: str | os.PathLike[str],
    *,
    form: InputFormat,
    batch_size: int,
    difficulty: float | Mapping[str, float] | None = None,
    known_difficulties: Sequence[float] | None = None,
    score_range: tuple[float, float] | None = None,
    model: Mapping[str, Any] | None = None,
    check: bool = False,
    threads: int | None = None,
    decode_seconds: float = SECONDS,
    decode_mb: int = MEGABYTES,
    progress: bool = True,
) -> Report:
    """Scores all videos; a file that cannot be read is listed with its error and does not stop the others.

    The next videos are decoded while the device scores; how many wait is bounded, so memory does not grow with files.

    Args:
      inputs: the files.
      scorer: the trained model.
      output: folder for scores.json and scores.csv, each replaced at the end.
      form: what the model takes.
      batch_size: videos scored at a time; the last batch is padded.
      difficulty: of every action, or by file name; None if the model does without.
      known_difficulties: the only ones that the model can score, where it compares videos of one difficulty.
      score_range: lowest and highest score in training; a score outside is flagged.
      model: what identifies the model (config hash, checkpoint step, …), copied into scores.json.
      check: score every video by the plain model too, and report the largest difference.
      threads: that decode; by default one a core, 16 at most.
      decode_seconds: in which a file must be decoded, in a process of its own.
      decode_mb: memory that decoding one file may take.
      progress: show a bar.

    Returns:
      The report; its `exit_code` is 1 if any file failed.
    """
    report = Report(check=Check() if check else None)
    threads = threads or min(cores(), _MOST_THREADS)

    def read(path: Path) -> tuple[VideoClips, str, float | None]:
        given = difficulty.get(path.name) if isinstance(difficulty, Mapping) else difficulty
        if isinstance(difficulty, Mapping) and given is None:
            raise DataError(f"{path}: no difficulty is given for {path.name}")
        if known_difficulties is not None and not np.isclose(given or 0, known_difficulties, rtol=0, atol=1e-3).any():
            raise DataError(
                f"{path}: the model has no exemplar of difficulty {given}; it has those of "
                f"{', '.join(f'{known:g}' for known in known_difficulties)}"
            )
        clips = read_clips(path, form.window, form.frame_size, form.crop_size, sandbox=sandbox)
        with open(path, "rb") as file:
            return clips, hashlib.file_digest(file, "sha256").hexdigest(), given

    batch: list[tuple[Path, VideoClips, str, float | None]] = []
    with Sandbox(decode_seconds, decode_mb) as sandbox, ThreadPoolExecutor(threads, "decode") as pool:
        started = ((path, pool.submit(read, path)) for path in inputs.videos)
        waiting = deque(islice(started, max(batch_size, threads)))
        scorer.prepare(batch_size)
        for path, outcome in tqdm(
            _in_order(waiting, started), total=len(inputs.videos), unit="video", disable=not progress
        ):
            try:
                batch.append((path, *outcome.result()))
            except (AqaError, OSError) as error:
                report.errors[str(path)] = str(error)
            if len(batch) == batch_size:
                _score(batch, scorer, batch_size, score_range, report)
                batch = []
        if batch:
            _score(batch, scorer, batch_size, score_range, report)
    _write(Path(output), inputs, report, form, score_range, model or {})
    return report


def _in_order(
    waiting: deque[tuple[Path, Future]], started: Iterator[tuple[Path, Future]]
) -> Iterator[tuple[Path, Future]]:
    """What waits, one after the other; for each that is taken another is started."""
    while waiting:
        yield waiting.popleft()
        waiting.extend(islice(started, 1))


def _point(told: Distribution) -> np.ndarray:
    """The scores [B]."""
    return np.asarray(getattr(told, "point", told.mean))


def _score(
    batch: list[tuple[Path, VideoClips, str, float | None]],
    scorer: Scorer,
    batch_size: int,
    score_range: tuple[float, float] | None,
    report: Report,
) -> None:
    # One batch size is one compilation: a short batch repeats its last video.
    padded = batch + batch[-1:] * (batch_size - len(batch))
    video = np.stack([clips.video for _, clips, _, _ in padded])
    given = [difficulty for *_, difficulty in padded if difficulty is not None]
    difficulties = np.array(given, np.float32) if given else None
    distribution = scorer.score(video, difficulties)
    score, sigma = _point(distribution), np.asarray(distribution.sigma)
    if report.check is not None:
        report.check.add(distribution, scorer.score(video, difficulties, plain=True), len(batch))
    distance, unfamiliar = getattr(distribution, "distance", None), getattr(distribution, "unfamiliar", None)
    limits = {}
    for level in INTERVALS:
        low, high = distribution.interval(level / 100)
        limits[level] = {"low": np.asarray(low), "high": np.asarray(high)}
    for i, (path, clips, digest, difficulty) in enumerate(batch):
        if not (np.isfinite(score[i]) and np.isfinite(sigma[i])):
            report.errors[str(path)] = f"{path}: the model's score is not finite: is the checkpoint damaged?"
            continue
        outside = score_range is not None and not score_range[0] <= score[i] <= score_range[1]
        intervals = {f"{end}{level}": pair[end][i] for level, pair in limits.items() for end in pair}
        report.rows.append(
            {
                "file": str(path),
                "score": score[i],
                "sigma": sigma[i],
                **intervals,
                "difficulty": difficulty,
                "frames": clips.num_frames,
                "tempo": clips.tempo,
                "resampled": clips.resampled,
                "damage": clips.damage_in_words,
                "out_of_training_range": outside,
                "distance": None if distance is None else distance[i],
                "unfamiliar": None if unfamiliar is None else unfamiliar[i],
                "sha256": digest,
            }
        )


def _write(
    output: Path,
    inputs: Inputs,
    report: Report,
    form: InputFormat,
    score_range: tuple[float, float] | None,
    model: Mapping[str, Any],
) -> None:
    content = {
        "schema": SCORES_SCHEMA,
        "model": dict(model),
        "window_frames": form.window.window,
        "training_score_range": score_range,
        "videos": report.rows,
        "errors": [{"file": name, "error": message} for name, message in report.errors.items()],
        "ignored": [str(path) for path in inputs.ignored],
        "check": None if report.check is None else report.check.to_dict(),
        "versions": versions(),
    }
    write_json(output / "scores.json", content)
    rows = {row["file"]: row for row in report.rows}
    names = [
        "score",
        "sigma",
        *(f"{end}{level}" for level in INTERVALS for end in ("low", "high")),
        "difficulty",
    ]
    names += ["frames", "tempo", "resampled", "damage", "out_of_training_range", "distance", "unfamiliar", "sha256"]
    files = [str(path) for path in inputs.videos]
    columns: dict[str, list[Any]] = {"file": files}
    columns |= {name: [rows.get(file, {}).get(name) for file in files] for name in names}
    columns["error"] = [report.errors.get(file) for file in files]
    write_csv(output / "scores.csv", columns)
