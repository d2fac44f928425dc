import dataclasses

import numpy as np
import pytest
from scipy import optimize, stats

from aqa_jax.errors import DataError
from aqa_jax.evaluate import recalibration
from aqa_jax.evaluate.calibration import LEVELS, gaussian_nll
from aqa_jax.evaluate.metrics import score_metrics


def predictions(n, *, seed=0, stated=0.5, noise=stats.norm):
    """Labels, and outputs whose sigma is ``stated`` times the truth."""
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(1, 5, n)
    mean = rng.normal(60, 10, n)
    y = mean + sigma * noise.rvs(size=n, random_state=rng)
    return y, {"mean": mean, "sigma": stated * sigma, "point": mean, "intervals": np.zeros((n, len(LEVELS), 2))}


def test_temperature_is_the_best_factor_there_is():
    y, outputs = predictions(50)
    found = recalibration.learn(y, outputs)
    best = optimize.minimize_scalar(
        lambda t: gaussian_nll(y, outputs["mean"], t * outputs["sigma"]).mean(), bounds=(0.1, 10), method="bounded"
    )
    assert found.temperature == pytest.approx(best.x, rel=1e-4)
    assert found.constant_sigma == pytest.approx(np.sqrt(np.mean((y - outputs["mean"]) ** 2)))


@pytest.mark.parametrize(("n", "conformal"), [(8, (1, 1, 0, 0)), (9, (1, 1, 1, 0)), (18, (1, 1, 1, 0)), (19, (1,) * 4)])
def test_conformal_quantiles_and_where_too_few_videos_leave_the_temperature(n, conformal):
    y, outputs = predictions(n)
    found = recalibration.learn(y, outputs)
    assert [method == "conformal" for method in found.methods] == list(map(bool, conformal))
    scores = np.abs(y - outputs["mean"]) / outputs["sigma"]
    for level, factor, method in zip(LEVELS, found.factors, found.methods, strict=True):
        if method == "conformal":
            # An infinite score stands for the new video: the quantile of n + 1.
            wanted = np.quantile([*scores, np.inf], level / 100, method="inverted_cdf")
        else:
            wanted = max(stats.norm.ppf(0.5 + level / 200) * found.temperature, *found.factors[:3])
        assert factor == pytest.approx(wanted)
    assert list(found.factors) == sorted(found.factors)
    assert ("by temperature at" in found.words) == (not all(conformal))


def test_intervals_cover_what_they_say_whatever_the_noise():
    noise = stats.t(3)  # heavy tails: no factor of a normal distribution is right at every level
    y, outputs = predictions(2000, noise=noise)
    new_y, new = predictions(4000, seed=1, noise=noise)
    corrected = recalibration.learn(y, outputs).apply(new)
    figures = score_metrics(new_y, new["mean"], corrected["sigma"], intervals=corrected["intervals"], bootstrap=0)
    by_temperature = score_metrics(new_y, new["mean"], corrected["sigma"], bootstrap=0)
    for level in LEVELS:
        # Four standard errors of the draws of 4000 and 2000.
        assert figures[f"coverage_{level}"] == pytest.approx(level / 100, abs=4 * np.sqrt(0.25 / 4000 + 0.25 / 2000))
    assert by_temperature["coverage_80"] > 0.86


def test_after_it_the_figures_are_right_and_the_raw_ones_are_kept():
    y, outputs = predictions(1000)
    new_y, new = predictions(1000, seed=1)
    corrected = recalibration.learn(y, outputs).apply(new)
    raw = score_metrics(new_y, new["mean"], new["sigma"], bootstrap=0)
    after = score_metrics(
        new_y, corrected["mean"], corrected["sigma"], constant_sigma=corrected["constant_sigma"], bootstrap=0
    )
    assert after["nll"] < raw["nll"] and after["crps"] < raw["crps"]
    assert after["nll_gain"] > 0 and after["crps_gain"] > 0
    np.testing.assert_array_equal(corrected["raw_sigma"], new["sigma"])
    np.testing.assert_allclose(corrected["sigma"] / new["sigma"], 2, rtol=0.1)
    assert np.ptp(corrected["constant_sigma"]) == 0


def test_intervals_lie_around_the_point_where_that_is_what_is_reported():
    y, outputs = predictions(30)
    outputs["point"] = outputs["mean"] + 2
    found = recalibration.learn(y, outputs, centre="point")
    corrected = found.apply(outputs)
    np.testing.assert_allclose(corrected["intervals"].mean(-1), np.repeat(outputs["point"][:, None], 4, 1))
    assert found.temperature == recalibration.learn(y, outputs).temperature
    inside = (corrected["intervals"][:, 2, 0] <= y) & (y <= corrected["intervals"][:, 2, 1])
    assert inside.sum() >= np.ceil(31 * 0.9)


def test_it_is_kept_in_a_file_with_its_owner(tmp_path):
    y, outputs = predictions(12)
    found = recalibration.learn(y, outputs)
    path = tmp_path / "recalibration.json"
    recalibration.write(path, found, {"rule": "last", "step": 7})
    assert recalibration.read(path) == (found, {"rule": "last", "step": 7})
    assert '"method": "temperature"' in path.read_text()
    path.write_text(path.read_text().replace("temperature", "temper"))
    with pytest.raises(DataError, match=r"recalibration\.json: no recalibration: KeyError\('temperature'\)"):
        recalibration.read(path)
    with pytest.raises(DataError, match="not a positive number"):
        recalibration.Recalibration.from_dict(dataclasses.replace(found, temperature=0.0).to_dict())


@pytest.mark.parametrize(
    ("n", "change", "message"),
    [
        (4, {}, "4 validation videos: at least 5 are needed"),
        (6, {"y": np.full(6, 3.0)}, "all validation labels are equal"),
        (6, {"mean": None}, "predicted exactly"),
    ],
)
def test_where_nothing_can_be_learnt_it_says_why(n, change, message):
    y, outputs = predictions(n)
    y = change.get("y", y)
    if "mean" in change:
        outputs["mean"] = y
    with pytest.raises(DataError, match=message):
        recalibration.learn(y, outputs)
