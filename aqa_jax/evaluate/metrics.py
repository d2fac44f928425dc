"""The field's metrics on one set of predictions, with bootstrap confidence intervals.

A metric that the data do not define (a rank correlation of constants, an interval of three examples) is None,
and the reason stands under "undefined". Nothing here is ever NaN.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from aqa_jax.errors import DataError, RunError
from aqa_jax.evaluate import calibration

HIGHER_IS_BETTER = dict.fromkeys(("rho", "tau", "mean_r2", "mean_accuracy"), True) | dict.fromkeys(
    ("rl2", "l2", "mae", "nll", "crps"), False
)
"""Metrics by which a step can be selected, and their direction."""

CONFIDENCE = 0.95
MIN_RANKED = 3
"""A rank correlation of two examples is -1 or 1, whatever the predictions."""
MIN_BOOTSTRAP_EXAMPLES = 10
MAX_DEGENERATE = 0.05


def spearman(y: np.ndarray, mean: np.ndarray, axis: int = -1) -> np.ndarray:
    """Spearman's rho along `axis`; NaN, without a warning, where either side is constant."""
    return _pearson(scipy.stats.rankdata(y, axis=axis), scipy.stats.rankdata(mean, axis=axis), axis)


def relative_l2(y: np.ndarray, mean: np.ndarray, score_range: float, axis: int = -1) -> np.ndarray:
    """R-l2 = 100 * mean(((y - mean) / score_range)²); score_range is max - min of the evaluated labels."""
    return 100 * np.mean(((y - mean) / score_range) ** 2, axis=axis)


def score_metrics(
    y: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray | None = None,
    *,
    point: np.ndarray | None = None,
    intervals: np.ndarray | None = None,
    constant_sigma: np.ndarray | None = None,
    ids: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of a set of predictions.

    Args:
      y: float [N], labels in score points.
      mean: float [N], means of the predicted distributions.
      sigma: float [N], predicted standard deviations, or None for a method without them.
      point: float [N], predicted scores where these are not the means; rho, tau, rl2, l2, mae and
        uncertainty_tau are about them.
      intervals: float [N, L, 2], low and high of the central intervals at `calibration.LEVELS`, where
        they are not the normal distribution's.
      constant_sigma: float [N], the one sigma for all (from elsewhere, as the validation split) that the
        individual ones are compared with; None: the root mean squared error of these very examples.
      ids: [N], names for error messages; the index if None.
      bootstrap: number of resamples for the confidence intervals; 0 leaves the intervals out.
      seed: seed of the resampling.

    Returns:
      - rho (Spearman), tau (Kendall's tau-b), rl2, l2 (mean squared error), mae; num_examples;
      - with sigma: nll (nats), crps, coverage_50/80/90/95 (0 to 1), width_50/80/90/95, sharpness (root mean
        square of sigma), uncertainty_tau (RICA²), nll_constant and crps_constant: those of one sigma for all,
        and nll_gain, crps_gain: what the individual sigmas save, the constant's figure less theirs;
      - confidence: level, resamples, seed, and [low, high] for rho, rl2, l2, mae, nll, crps, nll_gain,
        crps_gain (percentile bootstrap over examples; rl2 keeps the full set's score range, and the gains
        are paired: of the same examples);
      - undefined: {metric: reason} for every metric that is None.

    Raises:
      DataError: a label is not finite.
      RunError: a prediction is not finite, or a sigma not positive; the message names the examples.
    """
    y, mean, sigma = _checked(y, mean, sigma, ids)
    predicted_mean = mean
    if point is not None:
        _, mean, _ = _checked(y, point, sigma, ids)
    score_range = float(np.ptp(y)) if y.size else 0.0
    result: dict[str, Any] = {"num_examples": int(y.size)}
    undefined: dict[str, str] = {}

    def record(name: str, compute: Callable[[], Any], problem: str | None = None) -> None:
        result[name] = None
        if problem is None:
            with np.errstate(over="ignore", invalid="ignore"):
                value = float(compute())
            if np.isfinite(value):
                result[name] = value
                return
            problem = f"its formula gives {value} on these data"
        undefined[name] = problem

    empty = None if y.size else "no examples"
    ranks = why_no_ranks(y, mean)
    record("rho", lambda: spearman(y, mean), ranks)
    record("tau", lambda: scipy.stats.kendalltau(y, mean).statistic, ranks)
    record(
        "rl2",
        lambda: relative_l2(y, mean, score_range),
        empty or (None if score_range > 0 else "all labels are equal: there is no score range to divide by"),
    )
    record("l2", lambda: np.mean((y - mean) ** 2), empty)
    record("mae", lambda: np.mean(np.abs(y - mean)), empty)
    of_sigma: dict[str, np.ndarray] = {}
    if sigma is not None:
        of_sigma = _proper_scores(y, predicted_mean, sigma, constant_sigma)
        _record_calibration(record, y, mean, predicted_mean, sigma, of_sigma, intervals, empty)
    if bootstrap:
        squared = (y - mean) ** 2
        errors = {"rl2": 100 * squared / (score_range**2 or 1), "l2": squared, "mae": np.abs(y - mean)}
        errors |= {name: values for name, values in of_sigma.items() if not name.endswith("_constant")}
        result["confidence"] = _confidence(y, mean, errors, result, bootstrap, seed)
    result["undefined"] = undefined
    return result


def fold_means(rho: Mapping[str, float | None]) -> dict[str, Any]:
    """Both means in use over folds, classes or seeds: {"arithmetic", "fisher_z", "undefined"}.

    A fold whose rho is None leaves both means undefined; one of exactly ±1 leaves Fisher's z mean undefined.
    """
    missing = [name for name, value in rho.items() if value is None]
    if not rho or missing:
        reason = f"rho is undefined for {', '.join(missing)}" if missing else "no folds"
        return {"arithmetic": None, "fisher_z": None, "undefined": {"arithmetic": reason, "fisher_z": reason}}
    values = np.array(list(rho.values()), float)
    result: dict[str, Any] = {"arithmetic": float(values.mean()), "fisher_z": None, "undefined": {}}
    if np.all(np.abs(values) < 1):
        result["fisher_z"] = float(np.tanh(np.arctanh(values).mean()))
    else:
        result["undefined"]["fisher_z"] = "a rho of exactly ±1 has an infinite Fisher z"
    return result


def _proper_scores(
    y: np.ndarray, mean: np.ndarray, sigma: np.ndarray, constant: np.ndarray | None
) -> dict[str, np.ndarray]:
    """NLL and CRPS of each example [N] under its sigma and under the constant one, and the differences."""
    if constant is None:
        constant = np.full_like(y, np.sqrt(np.mean((y - mean) ** 2)) if y.size else 1.0)
    scores = {}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a constant of 0 is named below
        for name, score in (("nll", calibration.gaussian_nll), ("crps", calibration.gaussian_crps)):
            scores[name], scores[f"{name}_constant"] = score(y, mean, sigma), score(y, mean, np.asarray(constant))
            scores[f"{name}_gain"] = scores[f"{name}_constant"] - scores[name]
    return scores


def _record_calibration(
    record: Callable[..., None],
    y: np.ndarray,
    point: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray,
    of_sigma: Mapping[str, np.ndarray],
    intervals: np.ndarray | None,
    empty: str | None,
) -> None:
    for name, values in of_sigma.items():
        # 0 / 0: the root mean squared error is 0
        record(name, values.mean, empty or ("every prediction is exact" if np.isnan(values).any() else None))
    record("sharpness", lambda: np.sqrt(np.mean(sigma**2)), empty)
    for k, level in enumerate(calibration.LEVELS):
        if intervals is None:
            low, high = calibration.gaussian_interval(mean, sigma, level / 100)
        else:
            low, high = intervals[:, k, 0], intervals[:, k, 1]
        record(f"coverage_{level}", lambda low=low, high=high: np.mean((low <= y) & (y <= high)), empty)
        record(f"width_{level}", lambda low=low, high=high: np.mean(high - low), empty)
    problem = None
    if y.size < 20:
        problem = f"{y.size} examples: ten bins of at least two are needed"
    elif np.ptp(sigma) == 0:
        problem = "all sigmas are equal"
    elif np.ptp(np.abs(y - point)) == 0:
        problem = "all errors are equal"
    record("uncertainty_tau", lambda: calibration.uncertainty_tau(y - point, sigma), problem)


def _confidence(
    y: np.ndarray,
    point: np.ndarray,
    errors: Mapping[str, np.ndarray],
    result: Mapping[str, Any],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Percentile intervals of rho and of the means of ``errors``, from the same resamples of the examples."""
    names = ["rho", *errors]
    confidence: dict[str, Any] = {"level": CONFIDENCE, "resamples": resamples, "seed": seed}
    if y.size < MIN_BOOTSTRAP_EXAMPLES:
        reason = f"{y.size} examples: at least {MIN_BOOTSTRAP_EXAMPLES} are needed"
        return confidence | dict.fromkeys(names) | {"undefined": dict.fromkeys(names, reason)}

    def statistic(index: np.ndarray, axis: int) -> np.ndarray:
        index = index.astype(int)
        means = [error[index].mean(axis) for error in errors.values()]
        return np.stack([spearman(y[index], point[index]), *means])

    with warnings.catch_warnings():
        # A resample can be constant: its NaN is left out below, where scipy would give up the whole interval.
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        distribution = scipy.stats.bootstrap(
            (np.arange(y.size),), statistic, n_resamples=resamples, method="percentile", vectorized=True,
            axis=-1, batch=max(1, 1_000_000 // y.size), rng=np.random.default_rng(seed),
        ).bootstrap_distribution  # fmt: skip
    undefined = {}
    for name, values in zip(names, distribution, strict=True):
        confidence[name] = None
        finite = values[np.isfinite(values)]
        if result[name] is None:
            undefined[name] = "the metric itself is undefined"
        elif finite.size < (1 - MAX_DEGENERATE) * resamples:
            undefined[name] = f"{resamples - finite.size} of {resamples} resamples are constant"
        else:
            confidence[name] = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return confidence | {"undefined": undefined}


def _checked(
    y: np.ndarray, mean: np.ndarray, sigma: np.ndarray | None, ids: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    y, mean = np.asarray(y, np.float64), np.asarray(mean, np.float64)
    sigma = None if sigma is None else np.asarray(sigma, np.float64)
    names = [str(name) for name in (range(y.size) if ids is None else ids)]
    for name, values in (("y", y), ("mean", mean), ("sigma", sigma), ("ids", np.empty(len(names)))):
        if values is not None and (values.ndim != 1 or values.shape != y.shape):
            raise ValueError(f"{name} has shape {values.shape}, y {y.shape}: all must be [N]")

    def culprits(bad: np.ndarray) -> str:
        found = [names[i] for i in np.flatnonzero(bad)]
        return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")

    if (bad := ~np.isfinite(y)).any():
        raise DataError(f"the label is not finite for: {culprits(bad)}. Mend the annotations")
    if (bad := ~np.isfinite(mean)).any():
        raise RunError(
            f"the predicted score is not finite for: {culprits(bad)}. "
            "The training diverged or the checkpoint is damaged"
        )
    if sigma is not None and (bad := ~(np.isfinite(sigma) & (sigma > 0))).any():
        raise RunError(
            f"the predicted sigma is not finite and positive for: {culprits(bad)}. The loss needs a floor on sigma"
        )
    return y, mean, sigma


def why_no_ranks(y: np.ndarray, mean: np.ndarray | None = None) -> str | None:
    """Why labels and predictions [N] have no rank correlation, or None if they have one."""
    if y.size < MIN_RANKED:
        return f"{y.size} examples: at least {MIN_RANKED} are needed"
    if np.ptp(y) == 0:
        return "all labels are equal"
    if mean is not None and np.ptp(mean) == 0:
        return "all predictions are equal"
    return None


def _pearson(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    a = a - a.mean(axis, keepdims=True)
    b = b - b.mean(axis, keepdims=True)
    scale = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    return np.divide((a * b).sum(axis), scale, out=np.full(np.shape(scale), np.nan), where=scale > 0)
