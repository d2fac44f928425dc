"""Scores every file of a list, and writes scores.json and scores.csv."""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from tqdm import tqdm

from aqa_jax.data import checksums, cores
from aqa_jax.errors import AqaError, DataError, RunError
from aqa_jax.evaluate.results import versions
from aqa_jax.predict import ahead as reading
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.inputs import Inputs
from aqa_jax.predict.rows import DecodedVideo, Distribution, is_finite, points, row_of
from aqa_jax.predict.sandbox import MEGABYTES, SECONDS, Sandbox
from aqa_jax.predict.scores_files import Kept, Partial, check_output, write_scores
from aqa_jax.predict.video_clips import VideoClips

# A decoded video of ten clips takes 24 MB, and one a thread waits.
_MOST_THREADS = 16


class Scorer(Protocol):
    """A trained model: always called with the same batch size."""

    def prepare(self, batch_size: int) -> None:
        """Compiles what `score` runs, while the first videos are decoded."""

    def score(self, video: np.ndarray, difficulty: np.ndarray | None, *, plain: bool = False) -> Distribution:
        """Video uint8 [B, S, T, H, W, 3] and difficulty float32 [B] to scores.

        With `plain`, in float32 and by the model as it was trained: the slower way, that the other is checked by.
        """


class Extras(Protocol):
    """What a scored video gets beside its score."""

    names: tuple[str, ...]
    shows: Mapping[str, Any]
    """Settings of what they show, plain JSON: a call that goes on makes those anew that were made otherwise."""

    def room(self, videos: int) -> int:
        """Bytes on the disk that they may take, generously."""

    def make(self, path: Path, clips: VideoClips, row: Mapping[str, Any], sandbox: Sandbox) -> dict[str, list[str]]:
        """Makes them; the files' names by extra, from the output folder. The file is opened in the sandbox alone.

        Several threads call it at once, each for another video.

        Raises:
          AqaError or OSError: one of them could not be made.
        """


@dataclass
class Check:
    """The largest differences, in score points, between the scores and those of the plain model."""

    videos: int = 0
    score: float = 0.0
    sigma: float = 0.0
    against: ClassVar[str] = "the model in float32, its batch normalisation not folded"

    def add(self, score: float, sigma: float) -> None:
        """Counts a video with these differences; those that are not finite are left out, as their scores are."""
        self.videos += 1
        self.score = max(self.score, score if np.isfinite(score) else 0.0)
        self.sigma = max(self.sigma, sigma if np.isfinite(sigma) else 0.0)

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
        """1 if any file failed, or lacks what was to be made beside its score; else 0."""
        return int(bool(self.errors) or any(row.get("extras_error") for row in self.rows))


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
    decode_seconds: float = SECONDS,
    decode_mb: int = MEGABYTES,
    resume: bool = False,
    ahead: reading.Ahead | None = None,
    extras: Extras | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> Report:
    """Scores all videos; a file that cannot be read is listed with its error and does not stop the others.

    So is, before it is decoded, a file that differs from its recorded checksum (:mod:`aqa_jax.data.checksums`).

    The next videos are decoded, and the last ones' extras made, while the device scores; how many wait is bounded, so
    memory does not grow with files. Every row is on the disk as soon as its extras are; a call that is cut off leaves
    them for `resume`.

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
      decode_seconds: in which a file must be decoded, in a process of its own.
      decode_mb: memory that decoding one file may take.
      resume: go on with what a call that was cut off left in `output`.
      ahead: has begun to read the first files; its limits hold for the others too.
      extras: what each video gets beside its score.
      threads: that decode and make extras; by default one a core, 16 at most.
      progress: show a bar.

    Returns:
      The report; its `exit_code` is 1 if any file failed.

    Raises:
      StorageError: `output` cannot be written, or has no room; before anything is scored, if it is known then.
      ConfigError: `resume`, and what is there was made by another model or with other settings.
      RunError: files cannot be decoded here at all.
    """
    threads, output = threads or min(cores(), _MOST_THREADS), Path(output)
    names, shows = ((), {}) if extras is None else (extras.names, extras.shows)
    report = Report(check=Check() if check else None)
    settings = {
        "window_frames": form.window.window,
        "input_format": asdict(form),
        "training_score_range": score_range,
    }
    check_output(output, *([] if extras is None else [extras.room(len(inputs.videos))]))
    key = {"model": dict(model or {}), "settings": settings, "check": check, "versions": versions()}
    partial = Partial(output, key, resume=resume)
    recorded = checksums.Checksums()

    def read(path: Path) -> DecodedVideo | Kept:
        given = difficulty.get(path.name) if isinstance(difficulty, Mapping) else difficulty
        if isinstance(difficulty, Mapping) and given is None:
            raise DataError(f"{path}: no difficulty is given for {path.name}")
        check_difficulty(str(path), given, known_difficulties)
        content = None if ahead is None else ahead.take(path, form)
        identity = content.identity if content else reading.identify(path, inputs.folders.get(path), recorded)
        columns = {**asdict(identity), "difficulty": given}
        if (kept := partial.find(str(path), columns, names, shows)) is not None:
            return kept
        content = content or reading.read(path, identity, form, sandbox)
        return DecodedVideo(str(path), content.clips, content.facts, **columns)

    def keep(row: dict[str, Any], difference: list[float] | None) -> None:
        report.rows.append(row)
        if report.check is not None and difference is not None:
            report.check.add(*difference)

    batch: list[DecodedVideo] = []
    unfinished: deque[tuple[dict[str, Any], list[float] | None, Future[dict[str, Any]] | None]] = deque()
    own = Sandbox(decode_seconds, decode_mb) if ahead is None else nullcontext(ahead.sandbox)
    with own as sandbox, _pool(threads) as pool, partial:
        bar = tqdm(total=len(inputs.videos), unit="video", disable=not progress)
        started = ((path, pool.submit(read, path)) for path in inputs.videos)
        waiting = deque(islice(started, max(batch_size, threads)))
        scorer.prepare(batch_size)

        def settle(most: int) -> None:
            """Waits until at most so many videos lack their extras, and keeps the others' rows."""
            while unfinished and (len(unfinished) > most or (first := unfinished[0][2]) is None or first.done()):
                row, difference, made = unfinished.popleft()
                row |= {} if made is None else made.result()
                partial.add(row, difference, shows)
                keep(row, difference)

        def finish() -> None:
            for video, row, difference in _scored(batch, scorer, batch_size, score_range, report):
                made = None if extras is None else pool.submit(_extras, extras, video, dict(row), sandbox)
                unfinished.append((row, difference, made))
                settle(threads - 1)
            bar.update(len(batch))
            batch.clear()

        for path, outcome in _in_order(waiting, started):
            try:
                video = outcome.result()
            except RunError:  # No file is to blame: the next ones would fare the same.
                raise
            except (AqaError, OSError) as error:
                report.errors[str(path)] = str(error)
                bar.update()
                continue
            if isinstance(video, Kept):
                keep(video.row, video.check)
                bar.update()
            else:
                batch.append(video)
            if len(batch) == batch_size:
                finish()
        if batch:
            finish()
        settle(0)
        bar.close()
        order = {str(path): i for i, path in enumerate(inputs.videos)}
        report.rows.sort(key=lambda row: order[row["file"]])
        told = None if report.check is None else report.check.to_dict()
        write_scores(output, inputs, report.rows, report.errors, model=model or {}, settings=settings, check=told)
        partial.finish()
    return report


def check_difficulty(file: str, difficulty: float | None, known: Sequence[float] | None) -> None:
    """Raises DataError where the model cannot score this difficulty; ``known`` None: it can score any."""
    if known is not None and not np.isclose(difficulty or 0, known, rtol=0, atol=1e-3).any():
        raise DataError(
            f"{file}: the model has no exemplar of difficulty {difficulty}; it has those of "
            f"{', '.join(f'{one:g}' for one in known)}"
        )


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        yield pool
    finally:
        # Where it is cut off, nobody waits for what nobody takes.
        pool.shutdown(wait=False, cancel_futures=True)


def _in_order(
    waiting: deque[tuple[Path, Future]], started: Iterator[tuple[Path, Future]]
) -> Iterator[tuple[Path, Future]]:
    """What waits, one after the other; for each that is taken another is started."""
    while waiting:
        yield waiting.popleft()
        waiting.extend(islice(started, 1))


def _scored(
    batch: list[DecodedVideo],
    scorer: Scorer,
    batch_size: int,
    score_range: tuple[float, float] | None,
    report: Report,
) -> Iterator[tuple[DecodedVideo, dict[str, Any], list[float] | None]]:
    """Each video with its row, and its differences from the plain model; errors go to the report."""
    # One batch size is one compilation: a short batch repeats its last video.
    padded = batch + batch[-1:] * (batch_size - len(batch))
    videos = [one.clips.video for one in padded]
    video = videos[0][None] if len(videos) == 1 else np.stack(videos)  # 24 MB need no copy.
    given = [one.difficulty for one in padded if one.difficulty is not None]
    difficulties = np.array(given, np.float32) if given else None
    told = scorer.score(video, difficulties)
    differences = None
    if report.check is not None:
        plain = scorer.score(video, difficulties, plain=True)
        pairs = (points(told), points(plain)), (told.sigma, plain.sigma)
        differences = np.abs([np.asarray(one, np.float64) - np.asarray(other, np.float64) for one, other in pairs])
    for i, one in enumerate(batch):
        difference = None if differences is None else differences[:, i].tolist()
        if is_finite(told, i):
            yield one, row_of(one, told, i, score_range), difference
            continue
        report.errors[one.file] = f"{one.file}: the model's score is not finite: is the checkpoint damaged?"
        if report.check is not None and difference is not None:
            report.check.add(*difference)


def _extras(extras: Extras, video: DecodedVideo, row: Mapping[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    """What is added to a row; a score is not lost for want of a picture."""
    try:
        return {"extras": extras.make(Path(video.file), video.clips, row, sandbox)}
    except (AqaError, OSError) as error:
        return {"extras": {}, "extras_error": f"scored, but not shown: {error}"}
