"""What is said of why a video got its score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_EFFECT = 0.02
"""Of a video's sigma: what a segment must do to its score to be pointed at."""


@dataclass(frozen=True)
class Explanation:
    """Three answers for the S segments (clips) of one video; scores are means of distributions, in score points.

    Attributes:
      score: of the video, which all answers take apart. It is the reported one unless ``config.evaluate.point=mode``.
      baseline: the score that ``contributions`` start from: the training videos' mean, or the middle of their range.
      segment_scores: float64 [S], the score if the video were this segment alone.
      contributions: float64 [S], Shapley values: what each segment adds; their sum is ``score - baseline``.
      occlusion: float64 [S], the score less the score with this segment replaced. Negative: without it the video would
        be scored higher, so that is where to look for a fault.
      cam: float32 [S, T, h, w] in [0, 1], 1 where the video's score is lowered most (Grad-CAM); None: not asked for.
      frames: int64 [S, T], the segments' frame numbers in the file, from 0.
    """

    score: float
    baseline: float
    segment_scores: np.ndarray
    contributions: np.ndarray
    occlusion: np.ndarray
    cam: np.ndarray | None
    frames: np.ndarray

    @property
    def worst(self) -> int:
        """The segment that lowers the score most, by occlusion."""
        return int(np.argmin(self.occlusion))

    @property
    def best(self) -> int:
        """The segment that raises the score most, by occlusion."""
        return int(np.argmax(self.occlusion))

    def pointed_at(self, sigma: float) -> tuple[int | None, int | None]:
        """:attr:`best` and :attr:`worst`; None for one whose effect is next to nothing beside the score's ``sigma``."""
        least = LEAST_EFFECT * sigma
        return (
            self.best if self.occlusion[self.best] > least else None,
            self.worst if self.occlusion[self.worst] < -least else None,
        )

    @property
    def cam_of_segments(self) -> np.ndarray | None:
        """The mean of ``cam`` over each segment, float64 [S]; None where there is no map."""
        return None if self.cam is None else self.cam.mean((1, 2, 3), dtype=np.float64)

    def to_dict(self, sigma: float = 0.0) -> dict[str, Any]:
        """For a JSON file; of ``cam`` its means over the segments; best and worst as :meth:`pointed_at` has them."""
        best, worst = self.pointed_at(sigma)
        return {
            "schema": "aqa_jax.why/1",
            "score": self.score,
            "baseline": self.baseline,
            "worst_segment": worst,
            "best_segment": best,
            "segments": [
                {
                    "frames": [int(self.frames[s].min()), int(self.frames[s].max())],
                    "score": self.segment_scores[s],
                    "contribution": self.contributions[s],
                    "occlusion": self.occlusion[s],
                    "cam": None if self.cam is None else float(self.cam[s].mean()),
                }
                for s in range(len(self.occlusion))
            ],
        }


def averaged(parts: Sequence[Explanation]) -> Explanation:
    """The explanation of an even mixture of models: every answer's mean (the map's, to a largest value of 1 again)."""
    if len(parts) == 1:
        return parts[0]

    def mean(name: str) -> Any:
        return np.mean([getattr(part, name) for part in parts], 0)

    cam = None if parts[0].cam is None else mean("cam")
    if cam is not None:
        cam = (cam / max(cam.max(), np.finfo(np.float32).tiny)).astype(np.float32)
    return Explanation(
        float(mean("score")), float(mean("baseline")), mean("segment_scores"), mean("contributions"),
        mean("occlusion"), cam, parts[0].frames,
    )  # fmt: skip
