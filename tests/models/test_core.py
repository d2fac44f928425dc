"""CoRe and DAE-CoRe: the original's numbers, losses and votes against loops in numpy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.models.heads.core import CoRe, leaf_intervals, leaf_of, make_core
from aqa_jax.models.heads.dae_core import make_dae_core
from aqa_jax.models.heads.exemplars import chosen_exemplars
from aqa_jax.models.layers import Linear, StackedLinear
from tests.golden import rule

GOLDEN = {
    name.partition("/")[2]: values
    for name, values in np.load(Path(__file__).parents[1] / "golden" / "heads_reference.npz").items()
    if name.startswith("core/")
}


def golden_tree():
    """CoRe on 1024 features with the golden rule's weights."""
    head = CoRe(1024, HeadConfig(pool=1), nnx.Rngs(0))
    for name, layer in vars(head).items():
        if not isinstance(layer, Linear | StackedLinear):
            continue
        original = name.replace("s_", "s.") + (".0" if name.startswith(("first", "feature")) else "")
        kernel, bias = layer.kernel, layer.bias
        if kernel.ndim == 2:
            value = rule.parameter(f"{original}.weight", kernel.shape[::-1]).T
        else:
            nodes, inside, outside = kernel.shape
            value = rule.parameter(f"{original}.weight", (nodes * outside, inside, 1))
            value = value.reshape(nodes, outside, inside).transpose(0, 2, 1)
        kernel[...] = jnp.asarray(value)
        bias[...] = jnp.asarray(rule.parameter(f"{original}.bias", (bias.size,)).reshape(bias.shape))
    return head


def test_the_tree_is_the_originals():
    outputs = golden_tree().pair_outputs(jnp.asarray(rule.array("core/x", (6, 2049))))
    np.testing.assert_allclose(outputs["logprob"], GOLDEN["leaf_logprob"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs["position"], GOLDEN["delta"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jnp.exp(outputs["logprob"]).sum(1), 1.0, rtol=1e-5)


def test_intervals_labels_and_inference_are_the_originals():
    intervals = leaf_intervals(GOLDEN["train_abs_delta"], 16, 30.0)
    np.testing.assert_array_equal(intervals, GOLDEN["intervals"])
    leaf, position = leaf_of(jnp.asarray(GOLDEN["query_delta"], jnp.float32), jnp.asarray(intervals, jnp.float32))
    np.testing.assert_array_equal(np.arange(16)[:, None] == np.asarray(leaf), GOLDEN["leaf_label"])
    wanted = GOLDEN["leaf_position"].max(0)
    np.testing.assert_allclose(position, wanted, atol=1e-5)
    head = CoRe(1, HeadConfig(pool=1), nnx.Rngs(0))
    head.intervals[...] = jnp.asarray(intervals, jnp.float32)
    outputs = {"logprob": jnp.asarray(GOLDEN["leaf_logprob"]), "position": jnp.asarray(GOLDEN["delta"])}
    np.testing.assert_allclose(head.pair_distribution(outputs).mode, GOLDEN["inference"][:, 0], rtol=1e-5)


VIDEOS, FEATURES = 30, 6
KEYS = np.random.default_rng(3).choice([1.6, 2.0, 3.2], VIDEOS)


def training_table():
    rng = np.random.default_rng(4)
    score = KEYS * rng.uniform(12, 28, VIDEOS)
    return {"score": score, "difficulty": KEYS, "exemplar_key": KEYS.astype(np.float32), "row": np.arange(VIDEOS) + 100}


def filled(make, **changes):
    """A head with exemplars whose features are random."""
    settings = HeadConfig(**{"hidden": (8, 4), "depth": 3, "exemplars": 4, "pool": 15, **changes})
    head = make(FEATURES, settings, training_table(), nnx.Rngs(7))
    bank = head.exemplars.features
    bank[...] = jnp.asarray(np.random.default_rng(5).standard_normal(bank.shape), jnp.float32)
    return head


def batch_of(size, seed=6):
    rng = np.random.default_rng(seed)
    difficulty = np.resize([2.0, 3.2, 2.0, 2.0, 1.6], size).astype(np.float32)
    batch = {"score": difficulty * rng.uniform(12, 28, size), "difficulty": difficulty, "exemplar_key": difficulty}
    features = rng.standard_normal((size, FEATURES))
    return jnp.asarray(features, jnp.float32), {k: jnp.asarray(v, jnp.float32) for k, v in batch.items()}


def pair(head, exemplar, query, score):
    """The network's outputs and relative score of one pair, as numpy."""
    x = np.concatenate([exemplar, query, [score / head.settings.score_scale]]).astype(np.float32)
    outputs = head.pair_outputs(jnp.asarray(x)[None])
    return {k: np.asarray(v[0]) for k, v in outputs.items()}, head.pair_distribution(outputs)


def test_core_loss_is_that_of_every_pair_with_one_difficulty():
    head, (features, batch) = filled(make_core), batch_of(9)
    score, key = np.asarray(batch["score"] / batch["difficulty"]), np.asarray(batch["exemplar_key"])
    intervals = np.asarray(head.intervals[...])
    wanted = []
    for query in range(9):
        terms = []
        for exemplar in range(9):
            if exemplar == query or key[exemplar] != key[query]:
                continue
            delta = score[query] - score[exemplar]
            outputs, _ = pair(head, features[exemplar], features[query], score[exemplar])
            inside = (intervals[:, 0] <= delta) & (delta < intervals[:, 1])
            if delta < 0:
                inside = (intervals[:, 0] < delta) & (delta <= intervals[:, 1])
            (leaf,) = np.flatnonzero(inside)
            position = (delta - intervals[leaf, 0]) / np.ptp(intervals[leaf])
            terms.append((outputs["position"][leaf] - position) ** 2 - outputs["logprob"][leaf])
        wanted.append(np.mean(terms) if terms else 0.0)
    ours = head.loss(head(features), batch, jax.random.key(0), jnp.float32(0.5))
    assert sorted(np.unique(key, return_counts=True)[1]) == [1, 2, 6] and wanted[4] == 0
    np.testing.assert_allclose(ours, wanted, rtol=1e-4)


@pytest.mark.parametrize("loss", ["likelihood", "beta_nll", "detached", "released_2023"])
def test_dae_core_loss_is_the_daes_of_the_relative_score(loss):
    head, (features, batch) = filled(make_dae_core, loss=loss, sigma_floor=0.1), batch_of(2)
    batch = {**batch, "difficulty": jnp.full(2, 2.0), "exemplar_key": jnp.full(2, 2.0)}
    score = np.asarray(batch["score"]) / 2
    scale = float(head.scale[...])
    ours = np.asarray(head.loss(head(features), batch, jax.random.key(0), jnp.float32(0.5)))
    wanted = []
    noise = np.asarray(jax.random.normal(jax.random.key(0), (4,))).reshape(2, 2)
    for query, exemplar in ((0, 1), (1, 0)):
        outputs, _ = pair(head, features[exemplar], features[query], score[exemplar])
        residual = (score[query] - score[exemplar]) / scale - outputs["mean"]
        variance = np.exp(outputs["logvar"]) + 0.1**2
        likelihood = 0.6 * residual**2 / variance + 0.4 * np.log(variance)
        sampled = (residual - np.sqrt(variance) * noise[query, exemplar]) ** 2
        wanted.append(
            {
                "likelihood": likelihood,
                "beta_nll": np.sqrt(variance) * likelihood,
                "detached": residual**2 + likelihood,
                "released_2023": sampled + residual**2,
            }[loss]
        )
    np.testing.assert_allclose(ours, wanted, rtol=1e-4)


@pytest.mark.parametrize("make", [make_core, make_dae_core])
@pytest.mark.parametrize("by", ["difficulty", "random"])
def test_exemplars_of_the_same_key_vote(make, by):
    head, (features, batch) = filled(make, exemplars_by=by), batch_of(5)
    if by == "random":
        table = training_table() | {"exemplar_key": np.zeros(VIDEOS, np.float32)}
        bank = head.exemplars.features[...]
        head = make(FEATURES, head.settings, table, nnx.Rngs(7))
        head.exemplars.features[...] = bank
        batch["exemplar_key"] = jnp.zeros(5)
    bank = {name: np.asarray(getattr(head.exemplars, name)[...]) for name in ("features", "score", "key", "row")}
    predicted = head.distribution(head(features), batch)
    for query in range(5):
        voters = np.flatnonzero((bank["row"] >= 0) & (bank["key"] == np.asarray(batch["exemplar_key"])[query]))[:4]
        assert len(voters) == 4
        table = training_table()
        means, modes, variances = [], [], []
        for e in voters:
            row = bank["row"][e] - 100
            np.testing.assert_allclose(bank["score"][e], table["score"][row] / table["difficulty"][row], rtol=1e-6)
            _, relative = pair(head, bank["features"][e], features[query], bank["score"][e])
            means.append(bank["score"][e] + float(relative.mean[0]))
            modes.append(bank["score"][e] + float(relative.most_likely[0]))
            variances.append(float(relative.sigma[0]) ** 2)
        difficulty = float(batch["difficulty"][query])
        np.testing.assert_allclose(predicted.mean[query], difficulty * np.mean(means), rtol=1e-5)
        np.testing.assert_allclose(predicted.mode[query], difficulty * np.mean(modes), rtol=1e-5)
        sigma = difficulty * np.sqrt(np.mean(variances) + np.var(means))
        np.testing.assert_allclose(predicted.sigma[query], sigma, rtol=1e-4)


def test_the_batch_votes_while_training():
    head, (features, batch) = filled(make_core), batch_of(3)
    batch = {**batch, "difficulty": jnp.full(3, 2.0), "exemplar_key": jnp.array([2.0, 2.0, 3.2])}
    predicted = head.training_distribution(head(features), batch)
    score = np.asarray(batch["score"]) / 2
    _, relative = pair(head, features[1], features[0], score[1])
    np.testing.assert_allclose(predicted.mean[0], 2 * (score[1] + relative.mean[0]), rtol=1e-5)
    assert np.isfinite(predicted.mean).all()


def test_a_video_without_an_exemplar_has_no_score():
    head, (features, batch) = filled(make_core), batch_of(3)
    predicted = head.distribution(head(features), {**batch, "exemplar_key": jnp.array([1.6, 2.7, 3.2])})
    np.testing.assert_array_equal(np.isnan(predicted.mean), [False, True, False])
    np.testing.assert_array_equal(np.isnan(predicted.sigma), [False, True, False])


def test_exemplars_are_chosen_by_the_seed():
    table, settings = training_table(), HeadConfig(exemplars=4, pool=15)
    first, again, other = (chosen_exemplars(table, settings, nnx.Rngs(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    keys, counts = np.unique(table["exemplar_key"][first], return_counts=True)
    assert len(keys) == 3 and set(counts) == {4} and len(set(first)) == 12
    few = chosen_exemplars(table, HeadConfig(exemplars=1000, pool=40), nnx.Rngs(1))
    np.testing.assert_array_equal(np.sort(few), np.arange(VIDEOS))


def test_sigma_of_the_tree_is_the_pairs_own_where_it_knows_nothing():
    """With every leaf as likely as the counts say, and the middle of each as its position."""
    head = filled(make_core, sigma_floor=0.0)
    outputs = {"logprob": jnp.full((1, 4), np.log(0.25)), "position": jnp.full((1, 4), 0.5)}
    sigma = float(head.pair_distribution(outputs).sigma[0])
    intervals, spread = np.asarray(head.intervals[...]), np.asarray(head.spread[...])
    np.testing.assert_allclose(sigma, np.sqrt(np.mean(intervals.mean(1) ** 2 + spread**2)), rtol=1e-5)
    assert (spread > 0).all() and (spread < np.ptp(intervals, axis=1)).all()


def test_intervals_hold_equal_counts():
    relative = np.abs(np.random.default_rng(0).standard_normal(4000))
    intervals = leaf_intervals(relative, 16, 30.0)
    counts = np.histogram(relative, np.append(intervals[8:, 0], 30.0))[0]
    assert np.ptp(counts) <= 2
    np.testing.assert_array_equal(intervals[:8], -intervals[8:][::-1, ::-1])
    # A difference of none is in the first interval to the right; what lies beyond all is in the last.
    leaf, _ = leaf_of(jnp.array([0.0, -1e-6, 40.0, -40.0]), jnp.asarray(intervals, jnp.float32))
    np.testing.assert_array_equal(leaf, [8, 7, 15, 0])


@pytest.mark.parametrize("make", [make_core, make_dae_core])
def test_labels_that_leave_nothing_to_compare(make):
    table = training_table()
    settings = HeadConfig(hidden=(8, 4), depth=3, exemplars=4, pool=15)
    cases = [
        ("have none", {"difficulty": np.full(VIDEOS, np.nan)}),
        ("All training scores are the same", {"score": 20 * KEYS}),
        ("No two training videos with the same difficulty", {"exemplar_key": np.arange(VIDEOS, dtype=np.float32)}),
    ]
    for message, changes in cases:
        with pytest.raises(DataError, match=message):
            make(FEATURES, settings, table | changes, nnx.Rngs(0))
    with pytest.raises(ConfigError, match=r"config\.head\.pool=12 or more"):
        make(FEATURES, HeadConfig(exemplars=4, pool=11), table, nnx.Rngs(0))
