"""What every head promises, whoever wrote it: a head is covered by being listed in HEADS.

Losses may depend on the other videos of a batch (pairs); what is predicted must not.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.config_keys import HEAD_NAMES, HeadConfig
from aqa_jax.errors import DataError
from aqa_jax.models.heads import HEADS
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.state import Assembler, flat

VIDEOS, FEATURES = 24, 12
LEVELS = jnp.array([0.025, 0.25, 0.5, 0.75, 0.975])
DIVING = {"bins": 21, "lowest": 0.0, "highest": 10.0}
RATING = {"panel": "sum", "bins": 5, "lowest": 1.0, "highest": 5.0, "label_std": 1.0}
# Settings other than the defaults under which a head is looked at.
SETTINGS: dict[str, tuple[dict, ...]] = {
    "musdl": (DIVING, RATING),
    "dae_judges": ({}, {"panel": "sum"}),
    "core": ({}, {"times_difficulty": False, "exemplars_by": "random"}),
}
CASES = [(name, changes) for name in HEADS for changes in SETTINGS.get(name, ({},))]


def training_labels(settings: HeadConfig) -> dict[str, np.ndarray]:
    """A training table that suits ``settings``: marks in half points (items: whole ones), scores as the panel adds."""
    rng = np.random.default_rng(0)
    quality = rng.normal(6, 1.2, (VIDEOS, 1))
    difficulty = rng.choice([1.5, 2.0, 3.2], VIDEOS)
    if settings.panel == "sum":
        judges = np.clip(np.round(quality / 2 + rng.normal(0, 0.7, (VIDEOS, 6))), 1, 5)
        score = judges.sum(-1)
    else:
        judges = np.clip(np.round(2 * (quality + rng.normal(0, 0.5, (VIDEOS, 7)))) / 2, 0, 10)
        score = np.sort(judges)[:, 2:5].sum(-1)
        if settings.times_difficulty or settings.name == "dae_mt":
            score = score * difficulty
    return {
        "score": score,
        "difficulty": difficulty,
        "judges": judges.astype(np.float32),
        "row": np.arange(VIDEOS),
        "exemplar_key": difficulty if settings.exemplars_by == "difficulty" else np.zeros(VIDEOS),
    }


@dataclass
class Case:
    """A fresh head, its training table, and one batch: all training videos."""

    name: str
    settings: HeadConfig
    labels: dict[str, np.ndarray]

    def make(self, labels):
        return HEADS[self.name](FEATURES, self.settings, labels, nnx.Rngs(0))

    @cached_property
    def head(self):
        return self.make(self.labels)

    @cached_property
    def features(self):
        return jnp.asarray(np.abs(np.random.default_rng(1).standard_normal((VIDEOS, FEATURES))), jnp.float32)

    @cached_property
    def batch(self):
        columns = {name: jnp.asarray(self.labels[name], jnp.float32) for name in self.head.columns}
        return columns | {"row": jnp.asarray(self.labels["row"], jnp.int32)}

    @cached_property
    def predicted(self) -> tuple[ScoreDistribution, dict[str, jax.Array]]:
        return self.predict(self.features, self.batch)

    def predict(self, features, batch, head=None) -> tuple[ScoreDistribution, dict[str, jax.Array]]:
        """The distribution, and what else a test asks of it."""
        return self._compiled(nnx.to_pure_dict(nnx.state(head or self.head)), features, batch)

    @cached_property
    def _compiled(self):
        graph = nnx.graphdef(self.head)

        def predict(state, features, batch):
            head = nnx.merge(graph, nnx.State(state))
            outputs = head(features)
            predicted = head.distribution(outputs, batch)
            quantiles = predicted.quantile(LEVELS)
            return predicted, {
                "outputs": outputs,
                "loss": head.loss(outputs, batch, jax.random.key(0), jnp.float32(0.5)),
                "quantiles": quantiles,
                "interval": jnp.stack(predicted.interval(0.9)),
                "intervals": predicted.intervals([0.5, 0.9]),
                "share_below_the_median": predicted.cdf(quantiles[2]),
            }

        return jax.jit(predict)


@pytest.fixture(scope="module", params=CASES, ids=[f"{name}{list(changes.values()) or ''}" for name, changes in CASES])
def case(request):
    name, changes = request.param
    # Not the default sizes: a head with sizes of its own would be seen.
    settings = HeadConfig(**{"name": name, "hidden": (16, 8), "pool": 40, "exemplars": 3, **changes})
    return Case(name, settings, training_labels(settings))


def test_listed_heads_are_the_configs():
    assert set(HEADS) == set(HEAD_NAMES)


def test_shapes(case):
    predicted, more = case.predicted
    assert more["outputs"]
    assert all(len(value) == VIDEOS for value in more["outputs"].values())
    assert predicted.mean.shape == predicted.sigma.shape == predicted.most_likely.shape == (VIDEOS,)
    assert predicted.mean.dtype == predicted.sigma.dtype == jnp.float32
    assert more["quantiles"].shape == (len(LEVELS), VIDEOS)
    assert more["loss"].shape == (VIDEOS,)
    # A head says what it reads without data and without the backbone's size.
    bare = nnx.eval_shape(lambda: HEADS[case.name](1, case.settings, None, nnx.Rngs(0)))
    assert bare.columns == case.head.columns
    assert "score" in bare.columns


def test_loss_and_gradient_are_finite_and_reach_the_parameters(case):
    graph, params, rest = nnx.split(case.head, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        def mean_loss(params):
            module = nnx.merge(graph, params, rest)
            return module.loss(module(case.features), case.batch, jax.random.key(0), jnp.float32(0.5)).mean()

        return jax.value_and_grad(mean_loss)(params)

    loss, gradients = gradient(params)
    assert np.isfinite(loss)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradients)]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert np.mean([(leaf != 0).any() for leaf in leaves]) > 0.9


def test_permuting_a_batch_permutes_the_scores(case):
    order = np.random.default_rng(2).permutation(VIDEOS)
    before, more_before = case.predicted
    after, more_after = case.predict(case.features[order], {k: v[order] for k, v in case.batch.items()})
    for a, b in ((before.mean, after.mean), (before.sigma, after.sigma), (before.most_likely, after.most_likely)):
        np.testing.assert_allclose(a[order], b, rtol=1e-5)
    np.testing.assert_allclose(more_before["quantiles"][:, order], more_after["quantiles"], rtol=1e-4)


def test_a_score_does_not_depend_on_its_batch(case):
    others = case.features.at[5:].multiply(3)
    before, (after, _) = case.predicted[0], case.predict(others, case.batch)
    np.testing.assert_allclose(before.mean[:5], after.mean[:5], rtol=1e-5)
    np.testing.assert_allclose(before.sigma[:5], after.sigma[:5], rtol=1e-4)
    assert (np.asarray(before.mean[5:]) != np.asarray(after.mean[5:])).all()


def test_scores_are_in_score_points(case):
    predicted, _ = case.predicted
    score = case.labels["score"]
    low, high = score.min() - np.ptp(score), score.max() + np.ptp(score)
    # The bins of a head without training are all alike: its mean may be anywhere among them.
    assert ((predicted.mean > min(low, 0)) & (predicted.mean < high)).all()
    assert ((predicted.sigma > 0) & (predicted.sigma < 3 * np.ptp(score))).all()


def test_other_units_give_the_same_scores_in_those_units(case):
    """Labels, bins and scales ten times as large: so are means and sigmas."""
    settings = case.settings
    larger = {name: 10 * getattr(settings, name) for name in ("lowest", "highest", "score_scale")}
    labels = case.labels | {name: 10 * case.labels[name] for name in ("score", "judges")}
    other = Case(case.name, dataclasses.replace(settings, **larger), labels)
    predicted, _ = case.predicted
    ten_times, _ = other.predicted
    np.testing.assert_allclose(10 * predicted.mean, ten_times.mean, rtol=1e-4)
    np.testing.assert_allclose(10 * predicted.sigma, ten_times.sigma, rtol=1e-3)
    np.testing.assert_allclose(10 * predicted.most_likely, ten_times.most_likely, rtol=1e-4)


def test_it_is_a_distribution(case):
    predicted, more = case.predicted
    quantiles, (low, high) = np.asarray(more["quantiles"]), np.asarray(more["interval"])
    assert (np.diff(quantiles, axis=0) > 0).all()
    assert ((low < quantiles[2]) & (quantiles[2] < high)).all()
    narrow, wide = np.moveaxis(np.asarray(more["intervals"]), 1, 0)
    np.testing.assert_allclose(wide, np.stack([low, high], -1), rtol=1e-6)
    assert ((wide[:, 0] < narrow[:, 0]) & (narrow[:, 0] < narrow[:, 1]) & (narrow[:, 1] < wide[:, 1])).all()
    np.testing.assert_allclose(more["share_below_the_median"], 0.5, atol=1e-3)
    if predicted.pmf is not None:
        assert (np.asarray(predicted.pmf) >= 0).all()
        np.testing.assert_allclose(predicted.pmf.sum(-1), 1, rtol=1e-5)
        assert (np.diff(predicted.support, axis=-1) > 0).all()
        np.testing.assert_allclose((predicted.pmf * predicted.support).sum(-1), predicted.mean, rtol=1e-5)


def test_a_checkpoint_brings_it_back_without_the_labels(case, tmp_path):
    groups = Assembler(lambda: case.make(case.labels), lambda path, variable: True).init()
    assembler = Assembler(lambda: case.make(None), lambda path, variable: True)
    saving = Checkpoints(tmp_path)
    saving.save_model(0, {"step": np.zeros((), np.int32), **groups}, {"history": []})
    saving.close()
    restoring = Checkpoints(tmp_path)
    like = {"step": jax.ShapeDtypeStruct((), "int32"), **jax.eval_shape(assembler.init)}
    # Arrays placed otherwise would be compiled for again.
    restored = jax.tree.map(np.asarray, restoring.restore_state(0, like))
    restoring.close()
    for path, leaf in flat(groups).items():
        np.testing.assert_array_equal(leaf, flat(restored)[path])
    before, (after, _) = case.predicted[0], case.predict(case.features, case.batch, assembler.merge(restored))
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.sigma, after.sigma)


def test_labels_without_information_are_refused(case):
    constant = {name: np.full_like(case.labels[name], case.labels[name].ravel()[0]) for name in ("score", "judges")}
    constant["difficulty"] = np.full(VIDEOS, 2.0)
    with pytest.raises(DataError):
        case.make(case.labels | constant)


def test_a_missing_difficulty_is_refused_where_it_is_read(case):
    difficulty = case.labels["difficulty"].copy()
    difficulty[3] = np.nan
    if "difficulty" not in case.head.columns:
        case.make(case.labels | {"difficulty": difficulty})
        return
    with pytest.raises(DataError, match="difficult"):
        case.make(case.labels | {"difficulty": difficulty})
