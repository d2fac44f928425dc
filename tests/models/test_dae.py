"""DAE and DAE-MT: losses against numpy, units, what a fit to known noise gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import DataError
from aqa_jax.models.heads.dae import DAE, make_dae, make_dae_mt, middle_three
from aqa_jax.models.scores import ScoreDistribution

RAW = HeadConfig(standardise=False, sigma_floor=0.0)
OUTPUTS = {"mean": jnp.array([1.0, -2.0, 0.5]), "logvar": jnp.array([0.0, 1.0, -1.0])}
BATCH = {"score": jnp.array([1.5, -1.0, 0.0]), "difficulty": jnp.array([2.0, 3.0, 1.5])}
KEY = jax.random.key(0)


def head(settings=RAW, **kwargs):
    return DAE(8, settings, times_difficulty=kwargs.pop("times_difficulty", False), rngs=nnx.Rngs(0), **kwargs)


def test_likelihood_loss_is_the_papers_formula():
    loss = head().loss(OUTPUTS, BATCH, KEY, 0.5)
    mean, variance = np.asarray(OUTPUTS["mean"]), np.exp(np.asarray(OUTPUTS["logvar"]))
    expected = 0.6 * (np.asarray(BATCH["score"]) - mean) ** 2 / variance + 0.4 * np.log(variance)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_released_losses_are_squared_errors_of_a_sample():
    eps = np.asarray(jax.random.normal(KEY, (3,)))
    sample = np.asarray(OUTPUTS["mean"]) + np.exp(0.5 * np.asarray(OUTPUTS["logvar"])) * eps
    squared = (sample - np.asarray(BATCH["score"])) ** 2
    error = np.asarray(OUTPUTS["mean"] - BATCH["score"]) ** 2
    for name, expected in (("released_2021", squared), ("released_2023", squared + error)):
        loss = head(dataclasses.replace(RAW, loss=name)).loss(OUTPUTS, BATCH, KEY, 0.5)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_warm_up_is_squared_error_alone():
    settings = dataclasses.replace(RAW, warmup_fraction=0.5, mse_weight=0.3)
    error = np.asarray(OUTPUTS["mean"] - BATCH["score"]) ** 2
    np.testing.assert_allclose(head(settings).loss(OUTPUTS, BATCH, KEY, 0.2), error, rtol=1e-5)
    after = 0.3 * error + 0.7 * np.asarray(head().loss(OUTPUTS, BATCH, KEY, 0.9))
    np.testing.assert_allclose(head(settings).loss(OUTPUTS, BATCH, KEY, 0.9), after, rtol=1e-5)


def test_mt_multiplies_mean_and_sigma_by_the_difficulty():
    plain, times = (head(times_difficulty=t).distribution(OUTPUTS, BATCH) for t in (False, True))
    np.testing.assert_allclose(times.mean, plain.mean * BATCH["difficulty"])
    np.testing.assert_allclose(times.sigma, plain.sigma * BATCH["difficulty"], rtol=1e-6)


def test_sigma_has_a_floor_in_score_points():
    outputs = {"mean": jnp.zeros(1), "logvar": jnp.full(1, -80.0)}
    settings = HeadConfig(sigma_floor=0.05)
    predicted = make_dae(8, settings, {"score": np.array([10.0, 30.0])}, nnx.Rngs(0)).distribution(outputs, {})
    np.testing.assert_allclose(predicted.mean, 20.0)
    np.testing.assert_allclose(predicted.sigma, 0.05 * 10.0, rtol=1e-5)


def test_units_do_not_change_what_is_predicted():
    """Labels ten times as large give predictions ten times as large."""
    features = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    labels = np.array([3.0, 5.0, 9.0])
    small, large = (make_dae(8, HeadConfig(), {"score": k * labels}, nnx.Rngs(0)) for k in (1, 10))
    a, b = (h.distribution(h(features), {}) for h in (small, large))
    np.testing.assert_allclose(10 * np.asarray(a.mean), b.mean, rtol=1e-5)
    np.testing.assert_allclose(10 * np.asarray(a.sigma), b.sigma, rtol=1e-5)


def test_judges_part_is_the_sum_of_the_middle_three():
    marks = np.random.default_rng(0).integers(0, 21, (4, 7)) / 2
    np.testing.assert_allclose(middle_three(jnp.asarray(marks)), np.sort(marks)[:, 2:5].sum(-1))


def test_judges_target_needs_marks_and_mt_needs_difficulties():
    labels = {"score": np.array([40.0, 75.0]), "difficulty": np.array([2.0, 3.0])}
    judged = HeadConfig(name="dae_mt", target="judges")
    with pytest.raises(DataError, match="judge_scores"):
        make_dae_mt(8, judged, labels, nnx.Rngs(0))
    with pytest.raises(DataError, match="1 of 2 training videos have none"):
        make_dae_mt(8, HeadConfig(), labels | {"difficulty": np.array([2.0, np.nan])}, nnx.Rngs(0))
    with pytest.raises(DataError, match="All training scores are the same"):
        make_dae(8, HeadConfig(), {"score": np.ones(3)}, nnx.Rngs(0))
    made = make_dae_mt(8, judged, labels | {"judges": np.full((2, 7), 6.0)}, nnx.Rngs(0))
    batch = {"judges": jnp.full((1, 7), 6.0), "difficulty": jnp.array([2.0]), "score": jnp.array([99.0])}
    np.testing.assert_allclose(made.target(batch), 36.0)


@pytest.mark.parametrize("loss", ["likelihood", "released_2023"])
def test_the_likelihood_finds_the_noise_and_the_released_loss_loses_it(loss):
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.standard_normal((2048, 8)), jnp.float32)
    score = jnp.asarray(50 + 5 * features[:, 0] + 3.0 * rng.standard_normal(2048), jnp.float32)
    settings = HeadConfig(loss=loss, alpha=0.5, beta=0.5, sigma_floor=0.0, hidden=(16, 8))
    model = make_dae(8, settings, {"score": np.asarray(score)}, nnx.Rngs(0))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(np.float32(5e-3))

    @jax.jit
    def step(carry, key):
        params, state = carry

        def mean_loss(params):
            module = nnx.merge(graph, params, rest)
            return module.loss(module(features), {"score": score}, key, 0.5).mean()

        updates, state = optimizer.update(jax.grad(mean_loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    carry = (params, optimizer.init(params))
    for key in jax.random.split(jax.random.key(1), 300):
        carry = step(carry, key)
    module = nnx.merge(graph, carry[0], rest)
    sigma = float(module.distribution(module(features), {}).sigma.mean())
    if loss == "likelihood":
        assert 2.0 < sigma < 3.6
    else:
        assert sigma < 1.0


def test_score_distribution_is_scipys_normal():
    mean, sigma = np.array([1.0, 50.0, -3.0], np.float32), np.array([0.5, 10.0, 2.0], np.float32)
    ours, theirs = ScoreDistribution(jnp.asarray(mean), jnp.asarray(sigma)), stats.norm(mean, sigma)
    np.testing.assert_allclose(ours.quantile(0.9), theirs.ppf(0.9), rtol=1e-5)
    levels = np.array([0.1, 0.5, 0.9], np.float32)
    np.testing.assert_allclose(ours.quantile(levels), theirs.ppf(levels[:, None]), rtol=1e-4)
    np.testing.assert_allclose(ours.interval(0.5), theirs.interval(0.5), rtol=1e-5)
    np.testing.assert_allclose(ours.cdf(jnp.asarray(mean) + 1), theirs.cdf(mean + 1), rtol=1e-5)
    draws = np.asarray(ours.sample(KEY, 4000))
    assert draws.shape == (4000, 3)
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * sigma.max() / np.sqrt(4000))
    np.testing.assert_allclose(draws.std(0), sigma, rtol=0.05)


def test_the_judges_spread_teaches_the_variance_of_a_mark():
    rng = np.random.default_rng(5)
    marks = rng.uniform(4, 9, (40, 7))
    labels = {"score": np.sort(marks)[:, 2:5].sum(1) * 3, "difficulty": np.full(40, 3.0), "judges": marks}
    settings = HeadConfig(name="dae_mt", spread_weight=1e6, sigma_floor=0.0)
    head = make_dae_mt(8, settings, labels, nnx.Rngs(0))
    observed = marks[:2].var(1, ddof=1)
    batch = {"score": jnp.zeros(2), "difficulty": jnp.full(2, 3.0), "judges": jnp.asarray(marks[:2], jnp.float32)}

    def loss(logspread):
        outputs = {"mean": jnp.zeros(2), "logvar": jnp.zeros(2), "logspread": logspread}
        return head.loss(outputs, batch, jax.random.key(0), jnp.float32(0.5)).sum()

    # At the spread's own variance its likelihood is highest, however large the mean's error.
    unit = (float(head.scale[...]) / 3) ** 2
    best = jnp.asarray(np.log((observed - 0.5**2 / 12) / unit), jnp.float32)
    for step in (-0.1, 0.1):
        assert loss(best) < loss(best + step)
    outputs = {"mean": jnp.zeros(2), "logvar": jnp.full(2, -50.0), "logspread": best}
    sigma = head.distribution(outputs, batch).sigma
    np.testing.assert_allclose(sigma, 3 * np.sqrt(1.5713 * observed), rtol=1e-4)


def test_the_judges_spread_needs_judges():
    labels = {"score": np.arange(4.0), "difficulty": np.ones(4)}
    with pytest.raises(DataError, match=r"config\.head\.spread_weight .*needs 7 marks"):
        make_dae_mt(8, HeadConfig(name="dae_mt", spread_weight=1.0), labels, nnx.Rngs(0))
