"""A scorer whose answers depend on the video, and that compiles nothing."""

import numpy as np

from aqa_jax.data.sampling import ClipWindow
from aqa_jax.explain.explanation import Explanation
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.trust import Reported

WINDOW = ClipWindow(window=8, clip_length=4, clip_starts=(0, 4), max_shift=2)


class FakeScorer:
    """Scores by brightness, times the difficulty; a dark video is unfamiliar."""

    needs_difficulty, batch_size = True, 1
    known_difficulties: tuple[float, ...] | None = None
    trained_on = {"score_range": [1.0, 400.0], "scores": [float(n) for n in range(1, 400, 9)]}  # noqa: RUF012
    input_format = InputFormat(WINDOW, (32, 40), (32, 32))

    def describe(self):
        return {"head": "fake", "intervals": "conformal, learnt on 9 validation videos"}

    def prepare(self, batch_size):
        assert batch_size == 1

    def score(self, video, difficulty=None, *, plain=False):
        mean = video.mean((1, 2, 3, 4, 5)) * difficulty
        raw = ScoreDistribution(mean, np.full_like(mean, 5.0), mean)
        intervals = mean[:, None, None] + np.array([[-3, 3], [-6, 6], [-8, 8], [-10, 10]])
        return Reported(mean, mean, raw.sigma, raw, distance=mean, unfamiliar=mean < 30, raw_intervals=intervals)


def fake_explain(scorer, clips, difficulty=None):
    return Explanation(
        1.0, 1.0, np.array([1.0, 2.0]), np.array([-0.5, 0.5]), np.array([-2.0, 3.0]),
        np.random.default_rng(0).random((2, 4, 4, 4), np.float32), np.arange(8).reshape(2, 4),
    )  # fmt: skip
