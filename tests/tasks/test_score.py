"""Monte-Carlo dropout: what the passes disagree about is added to sigma."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aqa_jax.config import Config, resolve
from aqa_jax.errors import ConfigError
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.tasks.score import ScoreTask, dropped

CHANNELS = 400


class Linear:
    """A head whose mean is the sum of its features, and whose sigma is 2."""

    def __call__(self, features):
        return {"sum": features.sum(-1)}

    def distribution(self, outputs, batch):
        return ScoreDistribution(outputs["sum"], jnp.full_like(outputs["sum"], 2.0))


MODEL = types.SimpleNamespace(head=Linear())


def task(rate, samples, seed=0):
    config = Config(seed=seed)
    head = dataclasses.replace(config.head, dropout=rate)
    return ScoreTask(
        dataclasses.replace(config, head=head, evaluate=dataclasses.replace(config.evaluate, mc_samples=samples))
    )


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).uniform(0, 1, (3, CHANNELS)).astype(np.float32)


def test_the_variance_between_passes_adds_to_sigma(features):
    rate, samples = 0.25, 2000
    found = task(rate, samples).distribution_of(MODEL, features, {})
    # A feature x is kept as x / (1 - p) or set to 0: its variance is x^2 p / (1 - p).
    between = np.square(features).sum(1) * rate / (1 - rate)
    np.testing.assert_allclose(np.square(found.sigma), 4 + between, rtol=4 * np.sqrt(2 / samples))
    np.testing.assert_allclose(found.mean, features.sum(1), atol=4 * np.sqrt(between.max() / samples))


def test_one_pass_without_dropout_is_the_head_itself(features):
    found = task(0.25, 0).distribution_of(MODEL, features, {})
    np.testing.assert_array_equal(found.mean, jnp.asarray(features).sum(-1))
    np.testing.assert_array_equal(found.sigma, 2)


def test_passes_are_those_of_the_seed_and_do_not_depend_on_the_batch(features):
    first = task(0.5, 20).distribution_of(MODEL, features, {})
    for again in (task(0.5, 20), task(0.5, 20, seed=1)):
        same = np.array_equal(again.distribution_of(MODEL, features, {}).mean, first.mean)
        assert same == (again.config.seed == 0)
    alone = task(0.5, 20).distribution_of(MODEL, features[1:2], {})
    np.testing.assert_allclose([alone.mean[0], alone.sigma[0]], [first.mean[1], first.sigma[1]], rtol=1e-5)
    order = task(0.5, 20).distribution_of(MODEL, features[::-1], {})
    np.testing.assert_allclose(order.sigma[::-1], first.sigma, rtol=1e-5)


def test_passes_without_dropout_are_refused():
    with pytest.raises(ConfigError, match=r"config\.head\.dropout > 0: without it all passes are one"):
        resolve({"evaluate": {"mc_samples": 10}})


def test_training_drops_other_features_for_every_video(features):
    kept = np.asarray(dropped(jnp.asarray(features), 0.5, jax.random.key(0))) > 0
    assert not np.array_equal(kept[0], kept[1])
    assert kept.mean() == pytest.approx(0.5, abs=0.1)
