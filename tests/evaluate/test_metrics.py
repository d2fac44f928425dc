import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aqa_jax.errors import DataError, RunError
from aqa_jax.evaluate.metrics import fold_means, relative_l2, score_metrics, spearman


def predictions(n=60, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    y = rng.normal(70, 12, n)
    sigma = rng.uniform(1, 6, n)
    mean = y + sigma * rng.standard_normal(n)
    return (y.round(-1), mean.round(-1), sigma) if ties else (y, mean, sigma)


@pytest.mark.parametrize("ties", [False, True])
def test_against_scipy_and_the_formulas(ties):
    y, mean, sigma = predictions(ties=ties)
    result = score_metrics(y, mean, sigma, bootstrap=0)
    assert result["rho"] == pytest.approx(stats.spearmanr(y, mean).statistic, abs=1e-12)
    assert result["tau"] == pytest.approx(stats.kendalltau(y, mean).statistic, abs=1e-12)
    assert result["rl2"] == pytest.approx(100 / 60 * sum(((y - mean) / (y.max() - y.min())) ** 2))
    assert result["l2"] == pytest.approx(np.square(y - mean).mean())
    assert result["mae"] == pytest.approx(abs(y - mean).mean())
    assert result["nll"] == pytest.approx(-stats.norm(mean, sigma).logpdf(y).mean())
    assert result["num_examples"] == 60
    assert result["undefined"] == {}


def test_relative_l2_by_hand():
    assert relative_l2(np.array([0.0, 10.0]), np.array([1.0, 12.0]), 10.0) == pytest.approx(2.5)


def test_spearman_runs_along_an_axis():
    rng = np.random.default_rng(1)
    y, mean = rng.integers(0, 5, (2, 4, 30))
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(y, mean, strict=True)]
    np.testing.assert_allclose(spearman(y, mean), expected, atol=1e-12)


# Few distinct values, so that ties come up; far enough apart that the map below keeps them distinct.
scores = st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8)), min_size=2, max_size=40)


@settings(max_examples=100, deadline=None)
@given(scores, st.permutations(range(3)), st.randoms(use_true_random=False))
def test_rank_metrics_see_only_the_order(pairs, maps, random):
    y, mean = np.array(pairs, float).T
    increasing = [np.exp, lambda x: x**3 + x, lambda x: 5 * x - 3]
    before = score_metrics(y, mean, bootstrap=0)
    after = score_metrics(increasing[maps[0]](y), increasing[maps[1]](mean), bootstrap=0)
    order = random.sample(range(len(y)), len(y))
    permuted = score_metrics(y[order], mean[order], bootstrap=0)
    swapped = score_metrics(mean, y, bootstrap=0)
    for name in ("rho", "tau"):
        for other in (after, permuted, swapped):
            assert other[name] == (before[name] if before[name] is None else pytest.approx(before[name], abs=1e-9))
    if before["rho"] is not None:
        assert -1 - 1e-9 <= before["rho"] <= 1 + 1e-9
        assert score_metrics(y, -mean, bootstrap=0)["rho"] == pytest.approx(-before["rho"], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(scores, st.floats(0.1, 50), st.floats(-100, 100))
def test_units_scale_as_they_should(pairs, scale, offset):
    y, mean = np.array(pairs, float).T
    one = score_metrics(y, mean, bootstrap=0)
    other = score_metrics(scale * y + offset, scale * mean + offset, bootstrap=0)
    assert other["l2"] == pytest.approx(scale**2 * one["l2"], rel=1e-6, abs=1e-6)
    assert other["mae"] == pytest.approx(scale * one["mae"], rel=1e-6, abs=1e-6)
    if one["rl2"] is not None:
        assert other["rl2"] == pytest.approx(one["rl2"], rel=1e-6, abs=1e-6)


def test_intervals_are_reproducible_ordered_and_those_of_scipy():
    y, mean, sigma = predictions()
    result = score_metrics(y, mean, sigma, bootstrap=400, seed=3)
    confidence = result["confidence"]
    assert confidence["undefined"] == {}
    assert confidence == score_metrics(y, mean, sigma, bootstrap=400, seed=3)["confidence"]
    assert confidence != score_metrics(y, mean, sigma, bootstrap=400, seed=4)["confidence"]
    for name in ("rho", "rl2", "l2", "mae", "nll", "crps", "nll_gain", "crps_gain"):
        low, high = confidence[name]
        assert low < result[name] < high
    scipy_interval = stats.bootstrap(
        (y, mean),
        lambda a, b: stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=400,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    np.testing.assert_allclose(confidence["rho"], scipy_interval, atol=1e-12)


def test_a_perfect_ranking_has_a_point_interval():
    y = np.arange(20.0)
    result = score_metrics(y, y * 2)
    assert result["rho"] == pytest.approx(1)
    np.testing.assert_allclose(result["confidence"]["rho"], [1, 1])


def test_constant_resamples_are_left_out_and_too_many_leave_no_interval():
    y = np.zeros(12)
    y[:5] = np.arange(1, 6)
    assert score_metrics(y, y)["confidence"]["rho"] is not None
    y = np.zeros(12)
    y[0] = 1
    confidence = score_metrics(y, y)["confidence"]
    assert confidence["rho"] is None
    assert "resamples are constant" in confidence["undefined"]["rho"]


@pytest.mark.parametrize(
    ("y", "mean", "reason"),
    [
        ([], [], "0 examples"),
        ([1.0], [2.0], "1 examples"),
        ([1.0, 2.0], [1.0, 3.0], "2 examples: at least 3 are needed"),
        ([5.0, 5.0, 5.0], [1.0, 2.0, 3.0], "all labels are equal"),
        ([1.0, 2.0, 3.0], [5.0, 5.0, 5.0], "all predictions are equal"),
    ],
)
def test_undefined_is_none_with_a_reason_and_never_nan(y, mean, reason):
    result = score_metrics(np.array(y), np.array(mean), np.ones(len(y)))
    assert result["rho"] is None and result["tau"] is None
    assert reason in result["undefined"]["rho"]
    assert result["uncertainty_tau"] is None
    assert "at least 10" in result["confidence"]["undefined"]["rho"]
    json.dumps(result, allow_nan=False)
    every_none = {name for name, value in result.items() if value is None}
    assert every_none == set(result["undefined"])


def test_an_overflow_is_undefined_too():
    y, mean = np.array([1.0, 2.0, 3.0]), np.array([1e200, 2e200, 3e200])
    result = score_metrics(y, mean, bootstrap=0)
    assert result["rho"] == pytest.approx(1)
    assert result["l2"] is None and "inf" in result["undefined"]["l2"]


def test_bad_predictions_name_their_examples():
    y = np.arange(12.0)
    mean = y.copy()
    mean[[2, 5]] = [np.nan, np.inf]
    ids = [f"dive{i}" for i in range(12)]
    with pytest.raises(RunError, match="predicted score is not finite for: dive2, dive5"):
        score_metrics(y, mean, ids=ids)
    with pytest.raises(RunError, match="and 2 more"):
        score_metrics(y, np.full(12, np.nan), ids=ids)
    with pytest.raises(RunError, match="sigma is not finite and positive for: 0"):
        score_metrics(y, y, np.arange(12.0))
    with pytest.raises(DataError, match="label is not finite for: dive2"):
        score_metrics(mean, y, ids=ids)
    with pytest.raises(ValueError, match="shape"):
        score_metrics(y, y[:5])


def test_means_over_folds():
    result = fold_means({"1": 0.5, "2": 0.9})
    assert result["arithmetic"] == pytest.approx(0.7)
    # tanh of the mean of log((1 + r) / (1 - r)) / 2, by hand: sqrt(3 * 19) = 7.5498
    assert result["fisher_z"] == pytest.approx((7.549834 - 1) / (7.549834 + 1), abs=1e-6)
    assert fold_means({"a": 0.5, "b": None})["undefined"]["arithmetic"] == "rho is undefined for b"
    assert fold_means({})["arithmetic"] is None
    exact = fold_means({"a": 1.0, "b": -1.0})
    assert exact["arithmetic"] == 0 and exact["fisher_z"] is None and "infinite" in exact["undefined"]["fisher_z"]
