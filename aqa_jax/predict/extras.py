"""What a scored video gets beside its score: pictures, an annotated video, reasons and a report."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aqa_jax.config_keys import ReportConfig
from aqa_jax.errors import ConfigError, DecodeError
from aqa_jax.files import storage_errors, write_json
from aqa_jax.predict.playable import MPEG4, unfinished, write_playable
from aqa_jax.predict.sandbox import Sandbox
from aqa_jax.predict.video_clips import VideoClips

if TYPE_CHECKING:  # Names are checked before jax is loaded.
    from aqa_jax.explain.explanation import Explanation
    from aqa_jax.predict.ensemble import EnsembleScorer
    from aqa_jax.predict.scorer import RunScorer

# Generous sizes of the files, for a disk that is nearly full.
_MEGABYTES = {"video": 12, "distribution": 1, "keyframes": 1, "why": 4, "report": 12}
NAMES = tuple(_MEGABYTES)
_FILES = ("annotated.mp4", "distribution.png", "best.jpg", "worst.jpg", "why.json", "why.mp4", "report.html")
# Height and width, in pixels, that a frame may take above its panel: both fit a screen.
_BOXES = {"landscape": (540, 640), "portrait": (640, 480)}
_STILLS = 3
_STILL_BOX = (300, 420)
_WHY_SIDE = 336


def parse(text: str) -> tuple[str, ...]:
    """The names in ``config.predict.extras``, in the order of :data:`NAMES`.

    Raises:
      ConfigError: one of them is unknown.
    """
    given = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in given if name not in (*NAMES, "all")]:
        raise ConfigError(f"config.predict.extras: {', '.join(unknown)} is none of {', '.join(NAMES)}, all.")
    return NAMES if "all" in given else tuple(name for name in NAMES if name in given)


def folders(videos: Sequence[Path]) -> dict[str, str]:
    """A folder's name for every video, unique without regard to case: its stem, numbered where that comes again."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for path in videos:
        # A name of dots alone would lead out of the folder.
        stem = path.stem.strip(". ") or "video"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        found[str(path)] = name
    return found


def remove_earlier(output: Path, videos: Sequence[Path], failed: Iterable[str]) -> None:
    """Removes what an earlier call left in `output` for those of the `videos` that have no score now.

    It would stand beside their error as if it were of the same files.

    Raises:
      StorageError: the folder is read-only, or the disk fails.
    """
    names = folders(videos)
    with storage_errors(output / "videos"):
        for path in failed:
            _clear(output / "videos" / names[path])


def _clear(folder: Path) -> None:
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)


class VideoExtras:
    """Makes the extras of one call: ``OUTPUT/videos/<stem>/…``."""

    def __init__(
        self,
        names: tuple[str, ...],
        output: Path,
        videos: Sequence[Path],
        scorer: "RunScorer | EnsembleScorer",
        report: ReportConfig,
    ):
        """Takes what all videos share.

        Args:
          names: of :data:`NAMES`.
          output: the folder of the results.
          videos: all of them.
          scorer: that scored them.
          report: what may stand in a report.
        """
        self.names = names
        self.shows: Mapping[str, Any] = {"thumbnails": report.thumbnails, "names": report.names}
        self._output, self._scorer = output, scorer
        self._folders = folders(videos)
        self._codecs: set[str] = set()
        # Matplotlib is not made for several threads, and one explanation at a time keeps the device's memory small.
        self._one_at_a_time = threading.Lock()

    def room(self, videos: int) -> int:
        """Bytes on the disk that they may take, generously."""
        return (16 + videos * sum(_MEGABYTES[name] for name in self.names)) * 2**20

    @property
    def note(self) -> str:
        """What is to be known of the videos that were made; empty: nothing."""
        if MPEG4 not in self._codecs:
            return ""
        return (
            "The videos made are MPEG-4: players show them, browsers do not. With pip install -r "
            "requirements-video.txt they are H.264."
        )

    @cached_property
    def _model(self) -> dict[str, Any]:
        return self._scorer.describe()

    @property
    def _training_scores(self) -> list[float] | None:
        return self._scorer.trained_on.get("scores")

    def make(self, path: Path, clips: VideoClips, row: Mapping[str, Any], sandbox: Sandbox) -> dict[str, list[str]]:
        """Makes them; the files' names by extra, from the output folder. The file is opened in the sandbox alone.

        Several threads may call it at once, each for another video.

        Raises:
          AqaError or OSError: one of them could not be made.
        """
        folder = self._output / "videos" / self._folders[str(path)]
        folder.mkdir(parents=True, exist_ok=True)
        # What an earlier call left there may be of another video of that name, of another person.
        _clear(folder)
        with self._one_at_a_time:
            why = self._explained(clips, row["difficulty"])
        made: dict[str, list[Path]] = {}
        for name in self.names:
            maker = getattr(self, f"_make_{name}")
            made[name] = maker(folder, path, clips, row, why, sandbox)
        return {name: [file.relative_to(self._output).as_posix() for file in files] for name, files in made.items()}

    def _explained(self, clips: VideoClips, difficulty: float | None) -> "Explanation | None":
        if self.names == ("distribution",) or not self.names:
            return None
        from aqa_jax.explain.explain import explain

        return explain(self._scorer, clips, difficulty, cam="why" in self.names or "report" in self.names)

    def _make_video(
        self, folder: Path, path: Path, clips: VideoClips, row: Mapping[str, Any], why: Any, sandbox: Sandbox
    ) -> list[Path]:
        from aqa_jax.predict import annotate, pictures

        height, width = max(row["height"], 2), max(row["width"], 2)
        tallest, across = _BOXES["landscape" if width >= height else "portrait"]
        rows, _ = annotate.fitted(height, width, (tallest, across))
        best, worst = why.pointed_at(row["sigma"])
        with self._one_at_a_time:
            panel = pictures.panel(row, why.segment_scores, why.frames, best, worst, across)
        span = panel.first, panel.last, panel.top, panel.bottom
        target = folder / "annotated.mp4"
        try:
            codec = sandbox.call(
                annotate.annotate, path, target, panel.image, span, clips.num_frames, (rows, across), row["fps"]
            )
        finally:
            # A process that is ended at its limits tidies nothing up.
            unfinished(target).unlink(missing_ok=True)
        self._codecs.add(str(codec))
        return [target]

    def _make_distribution(
        self, folder: Path, path: Path, clips: VideoClips, row: Mapping[str, Any], why: Any, sandbox: Sandbox
    ) -> list[Path]:
        from aqa_jax.predict import pictures

        with self._one_at_a_time:
            pictures.distribution(folder / "distribution.png", row, self._training_scores)
        return [folder / "distribution.png"]

    def _make_keyframes(
        self, folder: Path, path: Path, clips: VideoClips, row: Mapping[str, Any], why: Any, sandbox: Sandbox
    ) -> list[Path]:
        from aqa_jax.predict import annotate, pictures

        length = why.frames.shape[1]
        at = np.linspace(0, length - 1, min(_STILLS, length)).round().astype(int)
        chosen, notable = {"best": why.best, "worst": why.worst}, why.pointed_at(row["sigma"])
        numbers = np.concatenate([why.frames[segment][at] for segment in chosen.values()])
        shown = sandbox.call(annotate.stills, path, numbers, _STILL_BOX)
        # From a process that the file may have taken over.
        right = isinstance(shown, np.ndarray) and shown.dtype == np.uint8 and shown.ndim == 4
        if not right or len(shown) != len(numbers) or shown.shape[3] != 3 or max(shown.shape) > max(_STILL_BOX):
            raise DecodeError(f"{path}: the decoding process sent something else than pictures: the file is hostile")
        made = []
        for k, (name, segment) in enumerate(chosen.items()):
            effect = why.occlusion[segment]
            does = f"{'raises' if effect >= 0 else 'lowers'} the score by {abs(effect):.1f}"
            title = f"{name.capitalize()} segment: {segment + 1} of {len(why.frames)}"
            does = does if segment in notable else "hardly changes the score"
            alone = f"{why.segment_scores[segment]:.1f} points alone; {does}"
            frames = numbers[k * len(at) : (k + 1) * len(at)]
            words = [f"{n / row['fps']:.2f} s" if row["fps"] else f"frame {n}" for n in frames]
            made.append(folder / f"{name}.jpg")
            with self._one_at_a_time:
                pictures.key_frames(made[-1], shown[k * len(at) : (k + 1) * len(at)], title, alone, words)
        return made

    def _make_why(
        self, folder: Path, path: Path, clips: VideoClips, row: Mapping[str, Any], why: Any, sandbox: Sandbox
    ) -> list[Path]:
        from aqa_jax.data.decode import cv2
        from aqa_jax.explain.explain import overlay

        write_json(folder / "why.json", why.to_dict(row["sigma"]))
        drawn = overlay(clips, why)
        # Every segment at its own pace, one after the other.
        step = float(np.median(np.diff(why.frames, axis=1))) if why.frames.shape[1] > 1 else 1.0
        rate = float(np.clip((row["fps"] or 25.0) / max(step, 1.0), 4.0, 60.0))
        scale = max(1, round(_WHY_SIDE / max(drawn.shape[2:4])))
        size = (drawn.shape[3] * scale // 2 * 2, drawn.shape[2] * scale // 2 * 2)
        large = (cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for clip in drawn for frame in clip)
        self._codecs.add(write_playable(folder / "why.mp4", large, rate))
        return [folder / "why.json", folder / "why.mp4"]

    def _make_report(
        self, folder: Path, path: Path, clips: VideoClips, row: Mapping[str, Any], why: Any, sandbox: Sandbox
    ) -> list[Path]:
        from aqa_jax.report.video import write_video_report

        with self._one_at_a_time:
            write_video_report(
                folder / "report.html", row=row, model=self._model, clips=clips, explanation=why,
                training_scores=self._training_scores, **self.shows,
            )  # fmt: skip
        return [folder / "report.html"]
