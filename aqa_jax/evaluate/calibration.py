"""Is the stated uncertainty right? Scores of a predicted normal distribution per example.

Everywhere `y`, `mean`, `sigma` are float [N] in score points, sigma > 0.
"""

import numpy as np
import scipy

LEVELS = (50, 80, 90, 95)
"""Levels of the central prediction intervals that are reported, in per cent."""


def gaussian_nll(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each label in nats, float64 [N]."""
    z = (y - mean) / sigma
    return 0.5 * z**2 + np.log(sigma) + 0.5 * np.log(2 * np.pi)


def gaussian_crps(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of each label in score points, float64 [N].

    Closed form for a normal distribution (Gneiting & Raftery 2007, equation 21). Its limit for sigma -> 0 is
    |y - mean|.
    """
    z = (y - mean) / sigma
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return sigma * (z * (2 * scipy.special.ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def gaussian_interval(mean: np.ndarray, sigma: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Central interval holding `level` (0 to 1) of the distribution: (low, high), each [N]."""
    half = scipy.special.ndtri(0.5 + level / 2) * sigma
    return mean - half, mean + half


def coverage_and_width(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray, level: float) -> tuple[float, float]:
    """Share of labels inside their central interval (0 to 1), and the mean width in score points."""
    low, high = gaussian_interval(mean, sigma, level)
    return float(np.mean((low <= y) & (y <= high))), float(np.mean(high - low))


def uncertainty_bins(sigma: np.ndarray, bins: int = 10) -> list[np.ndarray]:
    """Indices of the examples, sorted by `sigma` [N] and cut into `bins` equal parts."""
    return np.array_split(np.argsort(sigma, kind="stable"), bins)


def uncertainty_tau(error: np.ndarray, sigma: np.ndarray, bins: int = 10) -> float:
    """Kendall's tau between uncertainty and error as RICA² reports it: 1 if sigma orders the errors.

    Examples are sorted by sigma and cut into `bins` equal parts; tau is taken between a part's number and its
    mean absolute error. `error` and `sigma` are float [N], N >= bins. NaN if all parts have the same error.
    """
    mean_errors = [np.abs(error)[part].mean() for part in uncertainty_bins(sigma, bins)]
    return float(scipy.stats.kendalltau(np.arange(bins), mean_errors).statistic)
