"""Takes a video's score apart."""

from collections.abc import Sequence
from typing import Any, get_args

import cv2
import numpy as np

from aqa_jax.errors import ConfigError
from aqa_jax.explain.explanation import Explanation, averaged
from aqa_jax.explain.grad_cam import lowering, weighed_maps
from aqa_jax.explain.occlusion import Fill, filled
from aqa_jax.explain.shapley import shapley
from aqa_jax.models.i3d import ENDPOINTS
from aqa_jax.predict.ensemble import EnsembleScorer
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.video_clips import VideoClips, choose_frames

LAYER = "Mixed_5c"
FILL: Fill = "neighbours"
_MIXTURES = 64  # through the head at a time: one program, whatever the number of segments


def explain(
    scorer: RunScorer | EnsembleScorer,
    clips: VideoClips,
    difficulty: float | None = None,
    *,
    cam: bool = True,
    layer: str = LAYER,
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
      layer: that it is made of, one of ``aqa_jax.models.i3d.ENDPOINTS``; earlier ones are finer and know less.
      fill: what a segment is replaced with (:mod:`aqa_jax.explain.occlusion`).

    Raises:
      ConfigError: the difficulty is missing, or there is no such layer or fill.
    """
    if layer not in ENDPOINTS or fill not in get_args(Fill):
        raise ConfigError(
            f"layer={layer}, fill={fill}: choose of {', '.join(ENDPOINTS)}; of {', '.join(get_args(Fill))}"
        )
    members = scorer.members if isinstance(scorer, EnsembleScorer) else [scorer]
    return averaged([_Explainer(one, clips, difficulty).explain(cam, layer, fill) for one in members])


class _Explainer:
    """One run, one video."""

    def __init__(self, scorer: RunScorer, clips: VideoClips, difficulty: float | None):
        self.scorer, self.clips = scorer, clips
        self.difficulty = None if difficulty is None else np.array([difficulty], np.float32)
        self.frames = choose_frames(clips.num_frames, scorer.input_format.window)[0]
        features, early = scorer.program.features(clips.video[None])
        self.features, self.early = features[0], early[0].mean(0)

    def explain(self, cam: bool, layer: str, fill: Fill) -> Explanation:
        count = len(self.features)
        score = float(self.scores(self.features.mean(0, keepdims=True))[0])
        baseline = _baseline(self.scorer.trained_on)

        def value(coalitions: np.ndarray) -> np.ndarray:
            share = coalitions / coalitions.sum(1, keepdims=True)
            return self.scores(share.astype(np.float32) @ self.features)

        if baseline is None:
            baseline = score
        return Explanation(
            score=score,
            baseline=baseline,
            segment_scores=self.scores(self.features),
            contributions=shapley(value, count, baseline),
            occlusion=score - self.scores(self.replaced(fill)),
            cam=self.cam(layer) if cam else None,
            frames=self.frames,
        )

    def scores(self, features: np.ndarray) -> np.ndarray:
        """The score of a video with these mean features [N, C]: float64 [N]."""
        parts = []
        for start in range(0, len(features), _MIXTURES):
            part = features[start : start + _MIXTURES]
            padded = np.concatenate([part, np.repeat(part[-1:], _MIXTURES - len(part), 0)])
            early = np.broadcast_to(self.early, (_MIXTURES, len(self.early)))
            told, *_ = self.scorer.program.tell(padded[:, None], early[:, None], self.batch(_MIXTURES))
            parts.append(np.asarray(told.mean, np.float64)[: len(part)])
        return np.concatenate(parts)

    def batch(self, size: int) -> dict[str, np.ndarray]:
        """What the head reads beside features."""
        return self.scorer.batch(size, None if self.difficulty is None else np.repeat(self.difficulty, size))

    def replaced(self, fill: Fill) -> np.ndarray:
        """The video's mean features with each segment replaced: [S, C]."""
        own = self.features
        if fill == "neighbours":
            places = range(len(own))
            near = [[other for other in (s - 1, s + 1) if 0 <= other < len(own)] or [s] for s in places]
            others = np.stack([own[some].mean(0) for some in near])
        else:
            others = self.scorer.program.features(filled(self.clips.video, self.frames, fill)[None])[0][0]
        return own.mean(0, keepdims=True) + (others - own) / len(own)

    def cam(self, layer: str) -> np.ndarray:
        """See :attr:`Explanation.cam`."""
        program = self.scorer.program
        slope = program.slope(self.features[None], self.batch(1))[0]
        found = (weighed_maps(program.graph, program.state, clip, slope, layer) for clip in self.clips.video)
        parts: list[Any] = [tuple(np.asarray(values) for values in one) for one in found]
        return lowering(parts, self.clips.video.shape[1])


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
