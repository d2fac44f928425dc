import numpy as np
import pytest
from scipy import integrate, stats

from aqa_jax.evaluate import calibration
from aqa_jax.evaluate.metrics import score_metrics


@pytest.mark.parametrize("y", [-3.0, 0.5, 9.0])
def test_crps_is_the_integral_of_the_squared_distance(y):
    normal = stats.norm(0.7, 1.8)
    below, _ = integrate.quad(lambda x: normal.cdf(x) ** 2, -40, y)
    above, _ = integrate.quad(lambda x: (1 - normal.cdf(x)) ** 2, y, 40)
    assert calibration.gaussian_crps(np.array([y]), 0.7, 1.8)[0] == pytest.approx(below + above, abs=1e-7)


def test_crps_of_a_sure_prediction_is_the_absolute_error():
    crps = calibration.gaussian_crps(np.array([3.0]), np.array([1.0]), np.array([1e-9]))
    assert crps[0] == pytest.approx(2.0)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_interval_is_scipys(level):
    mean, sigma = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    np.testing.assert_allclose(
        calibration.gaussian_interval(mean, sigma, level), stats.norm(mean, sigma).interval(level)
    )


def test_true_sigmas_cover_what_they_say_and_halved_ones_do_not():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1, 5, 4000)
    mean = rng.normal(50, 10, 4000)
    y = mean + sigma * rng.standard_normal(4000)
    right = score_metrics(y, mean, sigma, bootstrap=0)
    for level in calibration.LEVELS:
        # Four standard errors of a share of 4000.
        assert right[f"coverage_{level}"] == pytest.approx(level / 100, abs=4 * np.sqrt(0.25 / 4000))
        assert right[f"width_{level}"] == pytest.approx(2 * stats.norm.ppf(0.5 + level / 200) * sigma.mean())
    half = score_metrics(y, mean, sigma / 2, bootstrap=0)
    assert half["coverage_90"] < 0.65
    for name in ("nll", "crps"):
        assert right[name] < half[name]
        assert right[name] < right[f"{name}_constant"]


def test_constant_sigma_reference_is_the_root_mean_squared_error():
    y, mean = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    result = score_metrics(y, mean, np.ones(3), bootstrap=0)
    assert result["nll_constant"] == pytest.approx(-stats.norm(mean, np.sqrt(5 / 3)).logpdf(y).mean())


@pytest.mark.parametrize("given", [None, 2.5])
def test_gains_are_paired_differences_to_one_sigma_for_all(given):
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1, 5, 300)
    mean = rng.normal(50, 10, 300)
    y = mean + sigma * rng.standard_normal(300)
    constant = np.full(300, given or np.sqrt(np.mean((y - mean) ** 2)))
    result = score_metrics(y, mean, sigma, constant_sigma=given and constant, bootstrap=300, seed=1)
    gains = stats.norm(mean, sigma).logpdf(y) - stats.norm(mean, constant).logpdf(y)
    assert result["nll_gain"] == pytest.approx(gains.mean())
    assert result["nll_gain"] == pytest.approx(result["nll_constant"] - result["nll"])
    assert result["crps_gain"] == pytest.approx(result["crps_constant"] - result["crps"])
    interval = stats.bootstrap(
        (gains,), np.mean, n_resamples=300, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(result["confidence"]["nll_gain"], interval)
    assert interval.low > 0


def test_given_intervals_points_and_sharpness():
    rng = np.random.default_rng(0)
    y, mean, sigma = rng.normal(50, 5, (3, 40)) + np.array([[0], [0], [20]])
    intervals = np.sort(rng.normal(50, 8, (40, 4, 2)))
    result = score_metrics(y, mean, sigma, point=mean + 1, intervals=intervals, bootstrap=0)
    for k, level in enumerate(calibration.LEVELS):
        inside = [low <= label <= high for label, (low, high) in zip(y, intervals[:, k], strict=True)]
        assert result[f"coverage_{level}"] == pytest.approx(np.mean(inside))
        assert result[f"width_{level}"] == pytest.approx(np.mean(intervals[:, k, 1] - intervals[:, k, 0]))
    assert result["sharpness"] == pytest.approx(np.linalg.norm(sigma) / np.sqrt(40))
    assert result["mae"] == pytest.approx(np.abs(y - mean - 1).mean())
    assert result["nll"] == pytest.approx(-stats.norm(mean, sigma).logpdf(y).mean())
    assert result["uncertainty_tau"] == pytest.approx(calibration.uncertainty_tau(y - mean - 1, sigma))


def test_uncertainty_tau_orders_errors():
    rng = np.random.default_rng(0)
    sigma = np.linspace(1, 10, 200)
    error = sigma * rng.choice([-1, 1], 200)
    shuffled = rng.permutation(200)
    assert calibration.uncertainty_tau(error[shuffled], sigma[shuffled]) == pytest.approx(1)
    assert calibration.uncertainty_tau(error[shuffled], -sigma[shuffled]) == pytest.approx(-1)


def test_uncertainty_tau_is_undefined_for_equal_sigmas_or_equal_errors():
    y = np.arange(40.0)
    rng = np.random.default_rng(0)
    same_sigma = score_metrics(y, y + rng.normal(size=40), np.ones(40), bootstrap=0)
    assert same_sigma["undefined"]["uncertainty_tau"] == "all sigmas are equal"
    same_bins = score_metrics(y, y + np.tile([1.0, 3.0], 20), np.linspace(1, 2, 40), bootstrap=0)
    assert same_bins["uncertainty_tau"] is None
