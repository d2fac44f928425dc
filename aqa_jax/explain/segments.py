"""One video in one model: its segments' features, computed once, and what the head makes of mixtures of them."""

from typing import Any

import numpy as np

from aqa_jax.explain.grad_cam import lowering, weighed_maps
from aqa_jax.explain.occlusion import Fill, filled
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.video_clips import VideoClips, choose_frames

_MIXTURES = 64  # through the head at a time: one program, whatever the number of segments


class Segments:
    """The S segments of a video.

    Attributes:
      frames: int64 [S, T], their frame numbers in the file.
      features: float32 [S, C], the backbone's of each.
      early: float32 [S, E], the early layer's (:meth:`aqa_jax.models.score_model.ClipModel.described`).
    """

    def __init__(self, scorer: RunScorer, clips: VideoClips, difficulty: float | None = None):
        """Runs the backbone over the clips.

        Raises:
          ConfigError: the difficulty is missing.
        """
        self._scorer, self._clips = scorer, clips
        self._difficulty = None if difficulty is None else np.full(_MIXTURES, difficulty, np.float32)
        self._batch = scorer.batch(_MIXTURES, self._difficulty)
        self.frames = choose_frames(clips.num_frames, scorer.input_format.window)[0]
        features, early = scorer.program.features(clips.video[None])
        self.features, self.early = features[0], early[0]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Means of the distributions of videos with these mean features [N, C]: float64 [N], score points."""
        parts = []
        early = np.broadcast_to(self.early.mean(0), (_MIXTURES, 1, self.early.shape[1]))
        for start in range(0, len(features), _MIXTURES):
            part = features[start : start + _MIXTURES]
            padded = np.concatenate([part, np.repeat(part[-1:], _MIXTURES - len(part), 0)])
            told, *_ = self._scorer.program.tell(padded[:, None], early, self._batch)
            parts.append(np.asarray(told.mean, np.float64)[: len(part)])
        return np.concatenate(parts)

    def mixed(self, coalitions: np.ndarray) -> np.ndarray:
        """Scores of videos of some segments alone, bool [N, S] with one at least: float64 [N]."""
        share = coalitions / coalitions.sum(1, keepdims=True)
        return self.scores(share.astype(np.float32) @ self.features)

    def replaced(self, fill: Fill) -> tuple[np.ndarray, np.ndarray]:
        """Mean features [S, C] and early features [S, E] of the video with one segment after the other replaced."""
        count = len(self.features)
        if fill == "neighbours":
            near = [[other for other in (s - 1, s + 1) if 0 <= other < count] or [s] for s in range(count)]
            others = tuple(np.stack([own[some].mean(0) for some in near]) for own in (self.features, self.early))
        else:
            instead = filled(self._clips.video, self.frames, fill)
            others = tuple(found[0] for found in self._scorer.program.features(instead[None]))
        features, early = (
            own.mean(0, keepdims=True) + (other - own) / count
            for own, other in zip((self.features, self.early), others, strict=True)
        )
        return features, early

    def cam(self, layer: str) -> np.ndarray:
        """Where the score is lowered, by Grad-CAM at ``layer``: float32 [S, T, h, w] in [0, 1]."""
        program = self._scorer.program
        one = {name: values[:1] for name, values in self._batch.items()}
        slope = program.slope(self.features[None], one)[0]
        found = (weighed_maps(program.graph, program.state, clip, slope, layer) for clip in self._clips.video)
        parts: list[Any] = [tuple(np.asarray(values) for values in part) for part in found]
        return lowering(parts, self._clips.video.shape[1])
