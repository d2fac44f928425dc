"""One video, scored, explained and reported."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.errors import DataError
from aqa_jax.explain.explain import explain
from aqa_jax.files import write_json
from aqa_jax.predict.ensemble import EnsembleScorer
from aqa_jax.predict.inputs import Inputs
from aqa_jax.predict.predict import predict
from aqa_jax.predict.sandbox import Sandbox
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.video_clips import VideoClips
from aqa_jax.report import page
from aqa_jax.report.video import report_parts

_ROOM = 2**20


class VideoJudge:
    """Scores one video at a time, the way that --mode predict does."""

    def __init__(
        self, scorer: RunScorer | EnsembleScorer, *, decode_seconds: float, decode_mb: int, thumbnails: bool = True,
        names: bool = True, keep_in: Path | None = None,
    ):  # fmt: skip
        """What it needs.

        Args:
          scorer: of a run.
          decode_seconds: in which a file must be decoded, in a process of its own.
          decode_mb: memory that decoding may take.
          thumbnails: whether reports show pictures of the video.
          names: whether reports show the file's name.
          keep_in: folder that every video and its report are kept in; None: nothing is kept.
        """
        self.scorer, self.keep_in = scorer, keep_in
        self.limits: dict[str, Any] = {"decode_seconds": decode_seconds, "decode_mb": decode_mb}
        self.shows = {"thumbnails": thumbnails, "names": names}

    def warm_up(self) -> None:
        """Compiles everything, so that the first video takes no longer than the others."""
        form = self.scorer.input_format
        shape = (form.window.num_clips, form.window.clip_length, *form.crop_size, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        known = self.scorer.known_difficulties or (1.0,)
        difficulty = known[0] if self.scorer.needs_difficulty else None
        self.scorer.score(noise[None], None if difficulty is None else np.array([difficulty], np.float32))
        explain(self.scorer, VideoClips(noise, form.window.window, 1.0), difficulty)

    def __call__(self, path: Path, name: str, difficulty: float | None) -> Mapping[str, Any]:
        """The score of the file ``path``, which its owner calls ``name``; results are written beside it.

        Returns:
          ``video`` (its row of scores.json), ``model``, ``main`` (the report's middle) and ``report`` (all of it).

        Raises:
          DataError: the file is no video that can be scored, or the score is not finite.
        """
        scorer, output = self.scorer, path.parent / "scored"
        model = scorer.describe()
        maker = _ReportMaker(scorer, name, model, self.shows)
        done = predict(
            Inputs((path,)), scorer, output, form=scorer.input_format, batch_size=1, difficulty=difficulty,
            known_difficulties=scorer.known_difficulties, score_range=scorer.trained_on["score_range"], model=model,
            extras=maker, threads=1, progress=False, **self.limits,
        )  # fmt: skip
        for problem in (*done.errors.values(), *(row.get("extras_error") for row in done.rows)):
            if problem:
                raise DataError(problem)
        if self.keep_in is not None:
            self._keep(path, output, maker.report)
        return {"video": maker.row, "model": model, "main": maker.main, "report": maker.report}

    def _keep(self, path: Path, output: Path, report: str) -> None:
        assert self.keep_in is not None
        folder = self.keep_in / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%f}"
        folder.mkdir(parents=True, mode=0o700)
        kept = Path(shutil.copyfile(path, folder / path.name))
        content = json.loads((output / "scores.json").read_text(encoding="utf-8"))
        content["videos"][0]["file"] = str(kept)
        write_json(folder / "scores.json", content)
        page.write(folder / "report.html", report)


class _ReportMaker:
    """Makes a scored video's report while its clips are at hand."""

    names: tuple[str, ...] = ("report",)

    def __init__(
        self, scorer: RunScorer | EnsembleScorer, name: str, model: Mapping[str, Any], shows: Mapping[str, bool]
    ):
        self._scorer, self._name, self._model, self.shows = scorer, name, model, shows
        self.row: dict[str, Any] = {}
        self.main = self.report = ""

    def room(self, videos: int) -> int:
        """Nothing is written here."""
        return _ROOM

    def make(self, path: Path, clips: VideoClips, row: Mapping[str, Any], sandbox: Sandbox) -> dict[str, list[str]]:
        """See :class:`aqa_jax.predict.predict.Extras`."""
        self.row = {**row, "file": self._name}
        self.main, self.report = report_parts(
            row=self.row, model=self._model, clips=clips, explanation=explain(self._scorer, clips, row["difficulty"]),
            training_scores=self._scorer.trained_on.get("scores"), **self.shows,
        )  # fmt: skip
        return {}


def title(scorer: RunScorer | EnsembleScorer, workdir: Path) -> str:
    """The model in a few words."""
    config = scorer.config
    return f"{workdir.resolve().name}: {config.head.name} ({config_lib.fingerprint(config)})"
