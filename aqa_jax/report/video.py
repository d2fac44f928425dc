"""The report of one scored video."""

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from aqa_jax.data import checksums
from aqa_jax.predict.video_clips import VideoClips
from aqa_jax.report import charts, images, page

if TYPE_CHECKING:
    from aqa_jax.explain.explanation import Explanation

_SHOWN_ABOVE = {
    "file",
    "score",
    "mean",
    "sigma",
    "low50",
    "high50",
    "low90",
    "high90",
    "difficulty",
    "damage",
    "extras",
}

_SMALL = 0.1  # of sigma


def write_video_report(
    path: str | os.PathLike[str],
    *,
    row: Mapping[str, Any],
    model: Mapping[str, Any],
    clips: VideoClips,
    explanation: "Explanation | None" = None,
    training_scores: Sequence[float] | None = None,
    thumbnails: bool = True,
    names: bool = True,
) -> None:
    """Writes the report of one video as one HTML file, whole or not at all; arguments as :func:`report_parts`."""
    _, report = report_parts(
        row=row, model=model, clips=clips, explanation=explanation, training_scores=training_scores,
        thumbnails=thumbnails, names=names,
    )  # fmt: skip
    page.write(path, report)


def report_parts(
    *,
    row: Mapping[str, Any],
    model: Mapping[str, Any],
    clips: VideoClips,
    explanation: "Explanation | None" = None,
    training_scores: Sequence[float] | None = None,
    thumbnails: bool = True,
    names: bool = True,
) -> tuple[str, str]:
    """The report of one video: its ``<main>`` for a page that has the style, and all of it as one HTML file.

    Args:
      row: of this video in scores.json.
      model: what identifies the model, as scores.json has it.
      clips: what the model saw.
      explanation: why; None leaves those parts out.
      training_scores: for comparison; None leaves them out.
      thumbnails: whether pictures of the video may be in it.
      names: whether the file's name may be in it.
    """
    name = PurePath(str(row["file"])).name if names else "A video"
    values = {
        "row": row,
        "notices": _notices(row),
        "distribution": charts.distribution(row, training_scores),
        "training_videos": len(training_scores) if training_scores is not None else 0,
        "why": None if explanation is None else _why(explanation, row["sigma"]),
        "segments": _segments(clips, explanation) if thumbnails else [],
        # Places of the map: [h, w].
        "cam_places": None if explanation is None or explanation.cam is None else explanation.cam.shape[2:],
        "intervals": str(model.get("intervals", "")),
        "facts": [
            (key, checksums.MEANING.get(item, item) if key == "checksum" else item)
            for key, item in row.items()
            if key not in _SHOWN_ABOVE
        ],
        "model": page.leaves(model),
    }
    main = page.environment().get_template("video_main.html").render(name=name, **values)
    return main, page.render("video.html", name=name, row=row, main=page.safe(main))


def _notices(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader must know before the figure: a headline and a sentence each."""
    found = []
    if row.get("damage"):
        found.append(("A damaged file", f"Parts of what the model saw may be made up: {row['damage']}."))
    if row.get("unfamiliar"):
        found.append(
            ("Unlike the training videos", "The model has seen nothing like this video: do not trust the score.")
        )
    if row.get("out_of_training_range"):
        found.append(
            ("Outside the training scores", "No training video had a score this low or this high: it is extrapolated.")
        )
    if row.get("resampled"):
        found.append((
            "Another tempo", f"The file's length is not the model's window, so that the action was taken "
            f"{page.number(row['tempo'])} times as fast. Where speed is judged, this matters.",
        ))  # fmt: skip
    return found


def _why(explanation: "Explanation", sigma: float) -> dict[str, Any]:
    contributions = np.asarray(explanation.contributions, float)
    occlusion = np.asarray(explanation.occlusion, float)
    _, fault = explanation.pointed_at(sigma)
    least = _SMALL * sigma
    return {
        "curve": charts.curve(np.asarray(explanation.segment_scores, float), explanation.score),
        "contributions": charts.bars(contributions, "points added", least=least),
        "occlusion": charts.bars(occlusion, "points lost when hidden", least=least),
        "rows": [
            {
                "segment": s + 1,
                "frames": _span(explanation.frames[s]),
                "alone": explanation.segment_scores[s],
                "adds": contributions[s],
                "hidden": occlusion[s],
            }
            for s in range(len(contributions))
        ],
        "baseline": explanation.baseline,
        "fault": None if fault is None else fault + 1,
    }


def _segments(clips: VideoClips, explanation: "Explanation | None") -> list[dict[str, Any]]:
    """The moving pictures of each segment, and its still for those who want nothing to move."""
    shown = None
    if explanation is not None and explanation.cam is not None:
        from aqa_jax.explain.explain import overlay

        shown = overlay(clips, explanation)
    found = []
    for s, clip in enumerate(clips.video):
        middle = len(clip) // 2
        found.append({
            "number": s + 1,
            "frames": None if explanation is None else _span(explanation.frames[s]),
            "plain": images.moving(clip),
            "plain_still": images.still(clip[middle]),
            "cam": None if shown is None else images.moving(shown[s]),
            "cam_still": None if shown is None else images.still(shown[s][middle]),
        })  # fmt: skip
    return found


def _span(frames: Sequence[int] | np.ndarray) -> str:
    return f"{int(np.min(frames))}–{int(np.max(frames))}"
