"""The panel with a DAE head for each judge: its joint likelihood, its score's variance, its errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import DataError
from aqa_jax.models.heads.dae_judges import make_dae_judges

RNG = np.random.default_rng(0)
MARKS = (5 + 2 * RNG.standard_normal((30, 7))).astype(np.float32)
LABELS = {"judges": MARKS, "difficulty": RNG.uniform(2, 3, 30), "score": MARKS.sum(1)}
PLAIN = HeadConfig(name="dae_judges", alpha=0.5, beta=0.5)
KEY, HALF = jax.random.key(0), jnp.float32(0.5)


def outputs_of(judges, count=3):
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    return {"marks": draw(count, judges), "logvar": draw(count, judges), "logcommon": draw(count)}


def test_the_loss_is_the_joint_likelihood_of_the_marks():
    head = make_dae_judges(16, PLAIN, LABELS, nnx.Rngs(0))
    outputs, marks = outputs_of(7), MARKS[:3]
    got = head.loss(outputs, {"judges": jnp.asarray(marks)}, KEY, HALF)
    floor = PLAIN.sigma_floor**2
    standard = (marks - MARKS.mean()) / MARKS.std()
    for i in range(3):
        covariance = np.diag(np.exp(outputs["logvar"][i]) + floor) + np.exp(outputs["logcommon"][i]) + floor
        wanted = -stats.multivariate_normal(outputs["marks"][i], covariance).logpdf(standard[i])
        np.testing.assert_allclose(got[i], (wanted - 3.5 * np.log(2 * np.pi)) / 7, rtol=1e-4)


@pytest.mark.parametrize("panel", ["middle3", "sum"])
def test_the_score_s_spread_is_what_such_judges_make_of_it(panel):
    judges = 7 if panel == "middle3" else 6
    labels = LABELS | {"judges": MARKS[:, :judges]}
    head = make_dae_judges(16, dataclasses.replace(PLAIN, panel=panel, sigma_floor=0.0), labels, nnx.Rngs(0))
    noise, common = 0.6, 0.3
    outputs = {
        "marks": jnp.full((1, judges), 0.4), "logvar": jnp.full((1, judges), np.log(noise)),
        "logcommon": jnp.full((1,), np.log(common)),
    }  # fmt: skip
    predicted = head.distribution(outputs, {"difficulty": jnp.full((1,), 2.5)})
    rng = np.random.default_rng(2)
    drawn = 0.4 + np.sqrt(noise) * rng.standard_normal((200_000, judges))
    drawn += np.sqrt(common) * rng.standard_normal((200_000, 1))
    values = labels["judges"]
    marks = values.mean() + values.std() * drawn
    scores = np.sort(marks, 1)[:, 2:5].sum(1) * 2.5 if panel == "middle3" else marks.sum(1)
    np.testing.assert_allclose(predicted.mean[0], scores.mean(), rtol=5e-3)
    np.testing.assert_allclose(predicted.sigma[0], scores.std(), rtol=1e-2)


def test_a_detached_likelihood_leaves_the_mean_to_the_squared_error():
    def gradient(settings):
        head = make_dae_judges(16, settings, LABELS, nnx.Rngs(0))
        batch = {"judges": jnp.asarray(MARKS[:3])}
        return jax.grad(lambda outputs: head.loss(outputs, batch, KEY, HALF).sum())(outputs_of(7))

    detached = gradient(dataclasses.replace(PLAIN, loss="detached"))
    squared = gradient(dataclasses.replace(PLAIN, warmup_fraction=1.0))
    likelihood = gradient(PLAIN)
    np.testing.assert_allclose(detached["marks"], squared["marks"], rtol=1e-5)
    np.testing.assert_allclose(detached["logvar"], likelihood["logvar"], rtol=1e-5)


def test_beta_nll_weighs_by_the_variance_without_a_gradient_through_it():
    weighted = make_dae_judges(16, dataclasses.replace(PLAIN, loss="beta_nll", beta_nll=1.0), LABELS, nnx.Rngs(0))
    plain = make_dae_judges(16, PLAIN, LABELS, nnx.Rngs(0))
    outputs, batch = outputs_of(7), {"judges": jnp.asarray(MARKS[:3])}
    noise, common = weighted.variances(outputs)
    weight = noise.mean(-1) + common

    def gradient(head, factor):
        return jax.grad(lambda o: (factor * head.loss(o, batch, KEY, HALF)).sum())(outputs)

    expected, got = gradient(plain, weight), gradient(weighted, 1.0)
    for name in outputs:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judges": MARKS[:, :6]}, "needs 7 marks for every training video; this dataset has 6 a video"),
        ({"judges": np.full((30, 7), np.nan)}, "too few for 30 of 30 training videos"),
        ({"judges": np.full((30, 7), 5.0)}, "All training scores are the same"),
        ({"difficulty": np.full(30, np.nan)}, r"set config\.head\.times_difficulty=False"),
    ],
)
def test_labels_that_do_not_serve_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        make_dae_judges(16, PLAIN, LABELS | change, nnx.Rngs(0))
