"""Takes a video's score apart."""

from collections.abc import Sequence
from typing import Any, get_args

import cv2
import numpy as np

from aqa_jax.errors import ConfigError
from aqa_jax.explain.explanation import Explanation, averaged
from aqa_jax.explain.grad_cam import layer_of
from aqa_jax.explain.occlusion import Fill
from aqa_jax.explain.segments import Segments
from aqa_jax.explain.shapley import shapley
from aqa_jax.models.i3d import ENDPOINTS
from aqa_jax.predict.ensemble import EnsembleScorer
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.video_clips import VideoClips

FILL: Fill = "blend"


def explain(
    scorer: RunScorer | EnsembleScorer,
    clips: VideoClips,
    difficulty: float | None = None,
    *,
    cam: bool = True,
    layer: str = "auto",
    fill: Fill = FILL,
) -> Explanation:
    """Why ``scorer`` gives this video its score; of several runs, the mean of their explanations.

    Costs what scoring the video costs, as much again where ``fill`` is made of pixels, and with ``cam`` about three
    times as much.

    Args:
      scorer: of a run, or of a cross-validation.
      clips: as :func:`aqa_jax.predict.video_clips.read_clips` read them in the scorer's ``input_format``.
      difficulty: where the scorer needs one.
      cam: make the Grad-CAM map.
      layer: that it is made of, one of ``aqa_jax.models.i3d.ENDPOINTS``; earlier ones are finer and know less. auto:
        see :func:`aqa_jax.explain.grad_cam.layer_of`.
      fill: what a segment is replaced with (:mod:`aqa_jax.explain.occlusion`).

    Raises:
      ConfigError: the difficulty is missing, or there is no such layer or fill.
    """
    members = scorer.members if isinstance(scorer, EnsembleScorer) else [scorer]
    last = members[0].config.model.final_endpoint
    if layer == "auto":
        layer = layer_of(min(clips.video.shape[2:4]), last)
    layers = ENDPOINTS[: ENDPOINTS.index(last) + 1]
    for name, given, known in (("layer", layer, layers), ("fill", fill, get_args(Fill))):
        if given not in known:
            raise ConfigError(f"There is no {name} {given!r} to explain by: choose of {', '.join(known)}.")
    return averaged([_explain(one, clips, difficulty, cam, layer, fill) for one in members])


def _explain(
    scorer: RunScorer, clips: VideoClips, difficulty: float | None, cam: bool, layer: str, fill: Fill
) -> Explanation:
    segments = Segments(scorer, clips, difficulty)
    count = len(segments.features)
    score = float(segments.scores(segments.features.mean(0, keepdims=True))[0])
    baseline = _baseline(scorer.trained_on)
    if baseline is None:
        baseline = score
    return Explanation(
        score=score,
        baseline=baseline,
        segment_scores=segments.scores(segments.features),
        contributions=shapley(segments.mixed, count, baseline),
        occlusion=score - segments.scores(segments.replaced(fill)[0]),
        cam=segments.cam(layer) if cam else None,
        frames=segments.frames,
    )


def _baseline(trained_on: dict[str, Any]) -> float | None:
    """The mean score in training, or the middle of the range; None: neither is known."""
    known: Sequence[float] | None = trained_on.get("scores") or trained_on.get("score_range")
    return float(np.mean(known)) if known else None


def overlay(clips: VideoClips, explanation: Explanation) -> np.ndarray:
    """The clips' frames, warm where the score is lowered, with each segment's number: uint8 RGB [S, T, H, W, 3].

    Without a map in ``explanation`` only the numbers are drawn.
    """
    drawn = clips.video.copy()
    height, width = drawn.shape[2:4]
    for s, t in np.ndindex(drawn.shape[:2]):
        frame = drawn[s, t]
        if explanation.cam is not None:
            heat = cv2.resize(explanation.cam[s, t], (width, height), interpolation=cv2.INTER_LINEAR)
            colours = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
            # As opaque as it is hot: what does not matter stays as it was.
            opacity = 0.65 * heat[:, :, None]
            frame[:] = np.round((1 - opacity) * frame + opacity * colours).astype(np.uint8)
        _number(frame, str(s + 1))
    return drawn


def _number(frame: np.ndarray, text: str) -> None:
    """Writes into the corner, white with a black rim."""
    size = max(len(frame) / 250, 0.3)
    at = (2, 2 + round(20 * size))
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            frame,
            text,
            at,
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            colour,
            max(1, round(thickness * max(size, 0.6))),
            cv2.LINE_AA,
        )
