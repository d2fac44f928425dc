import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import DataError
from aqa_jax.evaluate import familiarity, recalibration
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.models.scores import ScoreDistribution, of_pmf
from aqa_jax.predict.trust import Trust

CONFIG = Config()
OWNER = {"rule": "last", "step": 7, "config_hash": config_lib.fingerprint(CONFIG)}
FACTORS = (0.5, 1.0, 2.0, 3.0)


def learnt(centre="mean"):
    return recalibration.Recalibration(200, 1.5, 4.0, FACTORS, ("conformal",) * 4, centre)


@pytest.fixture
def workdir(tmp_path):
    parts = np.random.default_rng(0).normal(0, 1, (2, 30, 4))
    near = familiarity.learn(parts, parts[:, :9], neighbours=3, level=0.9)
    recalibration.write(tmp_path / "evaluation" / "recalibration.json", learnt(), OWNER)
    familiarity.write(tmp_path / "evaluation" / "familiarity.npz", near, OWNER)
    return tmp_path


RAW = ScoreDistribution(jnp.array([50.0, 60.0]), jnp.array([2.0, 4.0]), mode=jnp.array([51.0, 59.0]))
PARTS = np.zeros((2, 2, 4))


def test_sigma_and_intervals_are_those_that_validation_asked_for(workdir):
    trust = Trust.of_run(CONFIG, workdir, 7)
    told = trust.report(RAW, PARTS)
    np.testing.assert_allclose(told.point, [50, 60])
    np.testing.assert_allclose(told.sigma, [3, 6])
    for level, factor in zip(LEVELS, FACTORS, strict=True):
        np.testing.assert_allclose(
            told.interval(level / 100), [told.mean - factor * RAW.sigma, told.mean + factor * RAW.sigma]
        )
    # At other levels the distribution that is reported speaks for itself.
    np.testing.assert_allclose(told.interval(0.6), stats.norm([50, 60], [3, 6]).interval(0.6), rtol=1e-6)
    assert trust.describe()["intervals"] == "conformal, learnt on 200 validation videos"
    assert not told.unfamiliar.any()
    assert trust.report(RAW, PARTS + np.array([0, 50])[None, :, None]).unfamiliar.tolist() == [False, True]


def test_the_mode_is_the_score_where_the_method_says_so():
    raw, about_point = Trust(), Trust(learnt("point"))
    np.testing.assert_allclose(raw.report(RAW, PARTS, mode=True).point, [51, 59])
    told = about_point.report(RAW, PARTS, mode=True)
    np.testing.assert_allclose(told.interval(0.9), [[51 - 4, 59 - 8], [51 + 4, 59 + 8]])
    np.testing.assert_allclose(told.mean, [50, 60])


def test_raw_intervals_are_the_heads_own():
    support = jnp.arange(5.0)[None]
    raw = of_pmf(support, jnp.array([[0.4, 0.3, 0.2, 0.1, 0.0]]))
    told = Trust().report(raw, PARTS)
    np.testing.assert_allclose(told.interval(0.5), np.array(raw.interval(0.5)))
    np.testing.assert_array_equal(told.sigma, raw.sigma)
    assert told.distance is None and told.unfamiliar is None


@pytest.mark.parametrize(
    ("step", "config", "message"),
    [
        (8, CONFIG, "recalibration.json belongs to another step or config"),
        (7, dataclasses.replace(CONFIG, seed=3), "belongs to another step or config"),
        (7, dataclasses.replace(CONFIG, evaluate=dataclasses.replace(CONFIG.evaluate, views=4)), "averaged 4 views"),
    ],
)
def test_what_belongs_to_another_run_is_not_used(workdir, step, config, message):
    trust = Trust.of_run(config, workdir, step)
    assert trust.recalibration is None and trust.familiarity is None
    assert trust.describe()["intervals"].startswith("raw: ") and message in trust.describe()["intervals"]
    assert trust.describe()["familiarity"] == "not judged"


def test_a_missing_file_is_said_and_a_damaged_one_is_an_error(workdir):
    assert "left no recalibration.json" in Trust.of_run(CONFIG, workdir / "elsewhere", 7).why_raw
    (workdir / "evaluation" / "familiarity.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"familiarity\.npz is damaged"):
        Trust.of_run(CONFIG, workdir, 7)
