"""Accuracy of a classifier with its confidence interval."""

import numpy as np
import scipy

from aqa_jax.evaluate.metrics import CONFIDENCE


def accuracy_interval(right: np.ndarray, resamples: int, seed: int) -> list[float]:
    """``[low, high]`` of the mean of ``right`` [N], each video's share of right answers: percentile bootstrap, 95 %."""
    if np.ptp(right) == 0:
        return [float(right.mean())] * 2
    result = scipy.stats.bootstrap(
        (right,), np.mean, n_resamples=resamples, confidence_level=CONFIDENCE, method="percentile",
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]
