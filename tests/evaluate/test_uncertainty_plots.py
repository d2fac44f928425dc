import cv2
import numpy as np
import pytest

from aqa_jax.evaluate import recalibration, uncertainty_plots
from aqa_jax.evaluate.calibration import LEVELS, gaussian_interval
from aqa_jax.evaluate.metrics import score_metrics
from tests.evaluate.test_plots import BLUE, GREEN, ORANGE, pixels_of


def predictions(n, seed, stated=0.5):
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(1, 5, n)
    mean = rng.normal(60, 10, n)
    pairs = [np.stack(gaussian_interval(mean, stated * sigma, level / 100), -1) for level in LEVELS]
    outputs = {"mean": mean, "sigma": stated * sigma, "point": mean, "intervals": np.stack(pairs, 1)}
    return mean + sigma * rng.standard_normal(n), outputs


@pytest.mark.parametrize("n", [uncertainty_plots.MIN_VIDEOS, 300])
def test_both_pictures_are_drawn_with_and_without_recalibration(tmp_path, n):
    y, raw = predictions(n, 0)
    corrected = recalibration.learn(*predictions(200, 1)).apply(raw)
    for name, outputs, learnt_on in (("raw", raw, 0), ("corrected", corrected, 200)):
        figures = score_metrics(y, outputs["mean"], outputs["sigma"], bootstrap=0)
        path = tmp_path / f"{name}.png"
        uncertainty_plots.reliability(path, y, outputs, learnt_on=learnt_on, title="last: step 3")
        assert pixels_of(path, GREEN) > 100 and pixels_of(path, ORANGE) > 100
        assert (pixels_of(path, BLUE, 30) > 500) == (name == "corrected")
        uncertainty_plots.error_by_uncertainty(path, y - outputs["point"], outputs["sigma"], figures=figures)
        assert pixels_of(path, BLUE) > 100
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["corrected.png", "raw.png"]


def test_equal_sigmas_and_no_error_at_all_are_drawn(tmp_path):
    y, outputs = predictions(20, 0)
    outputs |= {"sigma": np.ones(20), "mean": y, "intervals": np.stack([y, y], -1)[:, None].repeat(4, 1)}
    uncertainty_plots.reliability(tmp_path / "a.png", y, outputs)
    uncertainty_plots.error_by_uncertainty(tmp_path / "b.png", np.zeros(20), np.ones(20))
    assert all(cv2.imread(str(tmp_path / name)) is not None for name in ("a.png", "b.png"))
