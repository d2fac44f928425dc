"""One video, scored, explained and reported."""

import hashlib
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.errors import DataError, RunError
from aqa_jax.explain.explain import explain
from aqa_jax.files import write_json
from aqa_jax.predict.ensemble import EnsembleScorer
from aqa_jax.predict.predict import INTERVALS, SCORES_SCHEMA
from aqa_jax.predict.sandbox import Sandbox
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.video_clips import VideoClips, read_clips
from aqa_jax.report import page
from aqa_jax.report.video import report_parts


class VideoJudge:
    """Scores one video at a time."""

    def __init__(
        self, scorer: RunScorer | EnsembleScorer, sandbox: Sandbox, *, thumbnails: bool = True, names: bool = True,
        keep_in: Path | None = None,
    ):  # fmt: skip
        """What it needs.

        Args:
          scorer: of a run.
          sandbox: in which files are decoded.
          thumbnails: whether reports show pictures of the video.
          names: whether reports show the file's name.
          keep_in: folder that every video and its report are kept in; None: nothing is kept.
        """
        self.scorer, self.sandbox, self.keep_in = scorer, sandbox, keep_in
        self.shows = {"thumbnails": thumbnails, "names": names}

    def warm_up(self) -> None:
        """Compiles everything, so that the first video takes no longer than the others."""
        form = self.scorer.input_format
        shape = (form.window.num_clips, form.window.clip_length, *form.crop_size, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        known = self.scorer.known_difficulties or (1.0,)
        self._judged(VideoClips(noise, form.window.window, 1.0), known[0] if self.scorer.needs_difficulty else None)

    def __call__(self, path: Path, name: str, difficulty: float | None) -> Mapping[str, Any]:
        """The score of the file ``path``, which its owner calls ``name``.

        Returns:
          ``video`` (its row of scores.json), ``model``, ``main`` (the report's middle) and ``report`` (all of it).

        Raises:
          DataError: the file is no video that can be scored.
          RunError: the score is not finite.
        """
        self._check(difficulty)
        form = self.scorer.input_format
        clips = read_clips(path, form.window, form.frame_size, form.crop_size, sandbox=self.sandbox)
        scored, why = self._judged(clips, difficulty)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        row = {"file": name, **scored, "sha256": digest}
        model = self.scorer.describe()
        main, report = report_parts(
            row=row, model=model, clips=clips, explanation=why, training_scores=self.scorer.trained_on.get("scores"),
            **self.shows,
        )  # fmt: skip
        if self.keep_in is not None:
            self._keep(path, report, {"schema": SCORES_SCHEMA, "model": model, "videos": [row]})
        return {"video": row, "model": model, "main": main, "report": report}

    def _check(self, difficulty: float | None) -> None:
        known = self.scorer.known_difficulties
        if known is not None and not np.isclose(difficulty or 0, known, rtol=0, atol=1e-3).any():
            raise DataError(
                f"The model has no exemplar of difficulty {difficulty}; it has those of "
                f"{', '.join(f'{one:g}' for one in known)}."
            )

    def _judged(self, clips: VideoClips, difficulty: float | None) -> tuple[dict[str, Any], Any]:
        given = None if difficulty is None else np.array([difficulty], np.float32)
        told = self.scorer.score(clips.video[None], given)
        score, sigma = float(told.point[0]), float(told.sigma[0])
        if not np.isfinite([score, sigma]).all():
            raise RunError("The model's score of this video is not finite: is the checkpoint damaged?")
        limits: dict[str, float] = {}
        for level in INTERVALS:
            low, high = told.interval(level / 100)
            limits |= {f"low{level}": float(low[0]), f"high{level}": float(high[0])}
        known = self.scorer.trained_on.get("score_range")
        row = {
            "score": score, "sigma": sigma, **limits, "difficulty": difficulty, "frames": clips.num_frames,
            "tempo": clips.tempo, "resampled": clips.resampled, "damage": clips.damage_in_words,
            "out_of_training_range": known is not None and not known[0] <= score <= known[1],
            "distance": None if told.distance is None else float(told.distance[0]),
            "unfamiliar": None if told.unfamiliar is None else bool(told.unfamiliar[0]),
        }  # fmt: skip
        return row, explain(self.scorer, clips, difficulty)

    def _keep(self, path: Path, report: str, scores: Mapping[str, Any]) -> None:
        assert self.keep_in is not None
        folder = self.keep_in / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%f}"
        folder.mkdir(parents=True, mode=0o700)
        shutil.copyfile(path, folder / path.name)
        page.write(folder / "report.html", report)
        write_json(folder / "scores.json", scores)


def title(scorer: RunScorer | EnsembleScorer, workdir: Path) -> str:
    """The model in a few words."""
    config = scorer.config
    return f"{workdir.resolve().name}: {config.head.name} ({config_lib.fingerprint(config)})"
