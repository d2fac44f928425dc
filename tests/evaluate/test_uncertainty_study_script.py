"""scripts/uncertainty_study.py: what it makes of a finished run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.evaluate.results import prediction_columns, write_metrics, write_predictions
from configs import dives_uncertainty
from scripts import uncertainty_study


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run whose sigmas are the true ones, and its dataset's truth."""
    rng = np.random.default_rng(0)
    ids = [f"dive_{n:02d}" for n in range(60)]
    noise, difficulty = rng.uniform(0.2, 2, 60), rng.uniform(2.5, 3, 60)
    sigma = 1.5713**0.5 * noise * difficulty
    mean = rng.uniform(20, 80, 60)
    score = mean + sigma * rng.standard_normal(60)
    (tmp_path / "evaluation").mkdir()
    config = config_lib.resolve(dives_uncertainty.get_config("dae_judges"))
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    write_predictions(tmp_path / "evaluation" / "predictions.csv", prediction_columns(ids, "test", score, mean, sigma))
    write_metrics(
        tmp_path / "evaluation" / "metrics.json", score_metrics(score, mean, sigma, bootstrap=20), split="test",
        protocol="p", selection={}, config_hash="c", dataset_fingerprint="d", checkpoint_step=1, seed=0,
        raw={"coverage_90": 0.5},
    )  # fmt: skip
    table = SimpleNamespace(column=lambda name: np.array(ids))
    run = SimpleNamespace(
        labels=lambda split: {"judge_sigma": noise, "difficulty": difficulty},
        store=SimpleNamespace(table=table),
        rows={"test": np.arange(60)},
    )
    monkeypatch.setattr(uncertainty_study, "Run", lambda config: run)
    return tmp_path


def test_sigma_is_compared_with_the_truth(finished):
    found = uncertainty_study.figures(finished)
    assert found["figures"]["sigma_rho"] == pytest.approx(1.0)
    assert found["figures"]["raw_coverage_90"] == 0.5
    metrics = json.loads((finished / "evaluation" / "metrics.json").read_text())["metrics"]
    assert found["figures"]["rho"] == metrics["rho"]
    low, high = found["confidence"]["sigma_rho"]
    assert low <= 1 <= high + 1e-9


def test_the_table_has_a_line_a_head_and_names_what_is_undefined(finished):
    found = uncertainty_study.figures(finished)
    found["figures"]["uncertainty_tau"] = None
    line = uncertainty_study.row("dae_judges", [found])
    assert line.startswith("| DAE judge heads | ")
    assert line.count("|") == len(uncertainty_study.COLUMNS) + 2
    assert "undefined" in line


def test_the_picture_shows_sigma_over_the_truth(finished):
    found = uncertainty_study.figures(finished)
    by_truth = found["by_true_sigma"]
    np.testing.assert_allclose(by_truth["sigma"], by_truth["true_sigma"], rtol=1e-3)
    uncertainty_study.draw(finished / "study.png", {"dae_judges": [found], "core": [found]})
    assert (finished / "study.png").stat().st_size > 5000


def test_every_word_is_a_config():
    for word in (dives_uncertainty.START, *dives_uncertainty.HEADS):
        config_lib.resolve(dives_uncertainty.get_config(word))
    assert set(uncertainty_study.TITLES) == set(dives_uncertainty.HEADS)
