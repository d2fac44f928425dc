"""Regression, USDL and MUSDL: the originals' numbers, exact panels, what does not fit."""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util
from scipy import stats

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import DataError
from aqa_jax.models.heads.musdl import MUSDL, make_musdl
from aqa_jax.models.heads.panel_pmf import middle_three_pmf, sum_pmf
from aqa_jax.models.heads.regression import Regression, make_regression
from aqa_jax.models.heads.usdl import USDL, log_soft_label, make_usdl, sharpened
from tests.golden import rule

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "heads_reference.npz")
SCORES = HeadConfig(name="usdl")
MARKS = HeadConfig(name="musdl", bins=21, lowest=0.0, highest=10.0)
ITEMS = HeadConfig(name="musdl", panel="sum", bins=5, lowest=1.0, highest=5.0, label_std=1.0)
KEY = jax.random.key(0)


def original(head):
    """``head`` with the golden rule's weights under the originals' names."""
    graph, state = nnx.split(head)
    flat = traverse_util.flatten_dict(nnx.to_pure_dict(state), sep=".")
    for path, leaf in flat.items():
        key = path.removeprefix("evaluator.").replace("judge_", "").replace("kernel", "weight")
        flat[path] = jnp.asarray(rule.from_torch(rule.parameter(f"evaluator.{key}", rule.to_torch_shape(leaf.shape))))
    return nnx.merge(graph, nnx.State(traverse_util.unflatten_dict(flat, sep=".")))


def test_usdl_is_the_originals():
    head = original(USDL(1024, dataclasses.replace(SCORES, sharpen=False), nnx.Rngs(0)))
    scores = jnp.asarray(GOLDEN["usdl/scores"], jnp.float32)
    outputs = head(jnp.asarray(rule.array("usdl/f", (4, 1024))))
    predicted = head.distribution(outputs, {})
    np.testing.assert_allclose(predicted.pmf, GOLDEN["usdl/probs"], atol=1e-5)
    np.testing.assert_allclose(predicted.mode, GOLDEN["usdl/pred"], atol=1e-5)
    np.testing.assert_allclose(jnp.exp(log_soft_label(scores, SCORES)), GOLDEN["usdl/soft_label"], atol=1e-7)
    loss = head.loss(outputs, {"score": scores}, KEY, 0.5)
    assert loss.shape == (4,)
    np.testing.assert_allclose(loss.mean(), GOLDEN["usdl/loss"], atol=1e-7)


def test_musdl_is_the_originals():
    head = original(MUSDL(1024, MARKS, nnx.Rngs(0)))
    outputs = head(jnp.asarray(rule.array("musdl/f", (4, 1024))))
    np.testing.assert_allclose(jax.nn.softmax(outputs["logits"]), GOLDEN["musdl/probs"], atol=1e-5)
    batch = {"difficulty": jnp.asarray(GOLDEN["musdl/difficulty"])}
    np.testing.assert_allclose(head.distribution(outputs, batch).mode, GOLDEN["musdl/pred"], atol=1e-5)


def test_musdls_loss_is_the_sum_of_the_judges_divergences():
    rng = np.random.default_rng(0)
    marks, logits = rng.integers(1, 6, (3, 6)).astype(np.float32), rng.standard_normal((3, 6, 5)).astype(np.float32)
    head = MUSDL(8, ITEMS, nnx.Rngs(0))
    label = stats.norm.pdf(np.arange(1, 6), loc=marks[..., None], scale=1)
    label /= label.sum(-1, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = (label * np.log(label / p)).mean(-1).sum(-1)
    np.testing.assert_allclose(
        head.loss({"logits": jnp.asarray(logits)}, {"judges": jnp.asarray(marks)}, KEY, 0.5), expected, rtol=1e-5
    )


@pytest.mark.parametrize("score", [-300.0, 0.0, 55.5, 104.5, 400.0])
def test_a_soft_label_has_sum_one_wherever_the_score_lies(score):
    label = jnp.exp(log_soft_label(jnp.array([score]), SCORES))
    np.testing.assert_allclose(label.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 3.0, 8.0])
def test_sharpening_takes_the_labels_spread_out(spread):
    """A network that has learnt all: the mean soft label over what the score could be, in bins."""
    settings = dataclasses.replace(SCORES, highest=100.0)
    bins = np.arange(101.0)
    label = np.exp(np.asarray(log_soft_label(jnp.asarray(bins, jnp.float32), settings), np.float64))
    for centre in (50.0, 97.0 - 2 * spread):
        truth = stats.norm.pdf(bins, centre, spread) if spread else bins == centre
        mixture = (truth / truth.sum()) @ label
        mean = mixture @ bins
        assert np.sqrt(mixture @ (bins - mean) ** 2) > 3.5
        sharp = np.asarray(jax.nn.softmax(sharpened(jnp.asarray(np.log(mixture[None]), jnp.float32), settings))[0])
        mean = sharp @ bins
        assert abs(mean - centre) < 0.7
        expected = max(spread, 0.3 * 5)
        assert abs(np.sqrt(sharp @ (bins - mean) ** 2) - expected) < 0.1 * expected + 0.2


def test_sharpening_keeps_the_likeliest_bin():
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((50, 7, 21)), jnp.float32)
    np.testing.assert_array_equal(sharpened(logits, MARKS).argmax(-1), logits.argmax(-1))
    narrow = dataclasses.replace(MARKS, label_std=0.01)
    np.testing.assert_allclose(sharpened(logits, narrow), logits, rtol=1e-4)


@pytest.mark.parametrize("marks", [2, 3])
def test_middle_three_over_all_outcomes(marks):
    pmf = np.random.default_rng(marks).dirichlet(np.ones(marks), 7)
    expected = np.zeros(3 * marks - 2)
    for outcome in itertools.product(range(marks), repeat=7):
        expected[sum(sorted(outcome)[2:5])] += np.prod(pmf[np.arange(7), outcome])
    np.testing.assert_allclose(middle_three_pmf(jnp.asarray(pmf, jnp.float32)), expected, atol=1e-6)


def test_middle_three_of_draws():
    rng = np.random.default_rng(0)
    pmf = rng.dirichlet(np.full(21, 0.3), 7)
    draws = np.stack([rng.choice(21, 100_000, p=p) for p in pmf], -1)
    seen = np.bincount(np.sort(draws)[:, 2:5].sum(-1), minlength=61) / len(draws)
    exact = np.asarray(middle_three_pmf(jnp.asarray(pmf, jnp.float32)))
    np.testing.assert_allclose(seen, exact, atol=1e-5 + 5 * np.sqrt(exact.max() / len(draws)))
    assert abs(seen @ np.arange(61) - exact @ np.arange(61)) < 0.1


def test_sum_is_the_convolution():
    pmf = np.random.default_rng(0).dirichlet(np.ones(5), 6)
    expected = pmf[0]
    for p in pmf[1:]:
        expected = np.convolve(expected, p)
    np.testing.assert_allclose(sum_pmf(jnp.asarray(pmf, jnp.float32)), expected, atol=1e-6)


def test_the_panels_score():
    """One judge each sure of a mark: the score is the panel's."""
    for settings, marks, score in (
        (MARKS, [7.0, 8.5, 6.5, 9.0, 7.5, 10.0, 7.0], 3.0 * 23.0),
        (ITEMS, [1.0, 5.0, 3.0, 4.0, 2.0, 5.0], 20.0),
    ):
        head = MUSDL(8, settings, nnx.Rngs(0))
        assert ("difficulty" in head.columns) == (settings is MARKS)
        bins = np.linspace(settings.lowest, settings.highest, settings.bins)
        logits = 50.0 * (bins[None] == np.array(marks)[:, None])
        predicted = head.distribution(
            {"logits": jnp.asarray(logits[None], jnp.float32)}, {"difficulty": jnp.array([3.0])}
        )
        np.testing.assert_allclose(predicted.mode, score)
        np.testing.assert_allclose(predicted.mean, score, rtol=1e-5)
        width = predicted.support[0, 1] - predicted.support[0, 0]
        np.testing.assert_allclose(predicted.sigma, width / np.sqrt(12), rtol=1e-2)


def test_regressions_mean_knows_nothing_of_sigma():
    labels = {"score": np.array([40.0, 60.0, 95.0])}
    head = make_regression(8, HeadConfig(name="regression"), labels, nnx.Rngs(0))
    features = jnp.asarray(np.random.default_rng(0).standard_normal((3, 8)), jnp.float32)
    batch = {"score": jnp.asarray(labels["score"], jnp.float32)}
    graph, params, rest = nnx.split(head, nnx.Param, ...)

    def gradient(params):
        def mean_loss(params):
            module = nnx.merge(graph, params, rest)
            return module.loss(module(features), batch, KEY, 0.5).mean()

        return nnx.to_pure_dict(jax.grad(mean_loss)(params))

    first = gradient(params)
    other = nnx.to_pure_dict(params)
    other["log_sigma"]["value"] = jnp.float32(-0.1)
    second = gradient(nnx.State(other))
    np.testing.assert_array_equal(first["first"]["kernel"], second["first"]["kernel"])
    assert float(first["log_sigma"]["value"]) != float(second["log_sigma"]["value"])


def test_regressions_sigma_is_the_residuals_spread():
    """Where the likelihood is stationary in sigma, sigma squared is the mean squared residual."""
    head = Regression(8, HeadConfig(name="regression", sigma_floor=0.0), rngs=nnx.Rngs(0))
    residual = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    outputs = {"mean": jnp.zeros(4)}

    def loss(log_sigma):
        head.log_sigma.value[...] = log_sigma
        return head.loss(outputs, {"score": jnp.asarray(residual)}, KEY, 0.5).mean()

    best = 0.5 * np.log((residual**2).mean())
    losses = [float(loss(jnp.float32((best + step) / 10))) for step in (-0.05, 0.0, 0.05)]
    assert losses[1] == min(losses)
    head.log_sigma.value[...] = jnp.float32(best / 10)
    np.testing.assert_allclose(head.distribution(outputs, {}).sigma, np.exp(best), rtol=1e-5)


DIVES = {
    "score": np.array([40.0, 75.0]), "difficulty": np.array([2.0, 3.0]), "judges": np.array([[6.0] * 7, [8.5] * 7])
}  # fmt: skip
RATINGS = {"score": np.array([14.0, 24.0]), "judges": np.array([[2.0] * 6, [4.0] * 6])}


@pytest.mark.parametrize(
    ("make", "settings", "labels", "message"),
    [
        (make_regression, HeadConfig(), {"score": np.ones(3)}, "All training scores are the same"),
        (
            make_usdl,
            SCORES,
            {"score": np.array([3.0, 8.0])},
            r"scores run from 3 to 8, .* 0 to 104\.5: set config",
        ),
        (make_usdl, SCORES, {"score": np.array([50.0, 130.0])}, "from 50 to 130"),
        (make_musdl, SCORES, DIVES, "marks run from 6 to 8.5"),
        (make_musdl, MARKS, DIVES | {"difficulty": np.array([2.0, np.nan])}, "1 of 2 training videos have none"),
        (make_musdl, MARKS, RATINGS, r"panel=middle3 needs 7 marks .* has 6 a video\. Is config\.head\.panel"),
        (make_musdl, ITEMS, DIVES, "panel=sum needs 6 marks .* has 7 a video"),
        (make_musdl, MARKS, {"score": DIVES["score"]}, "has no marks"),
        (make_musdl, MARKS, DIVES | {"judges": np.zeros((2, 0))}, "has no marks"),
        (make_musdl, MARKS, DIVES | {"judges": np.array([[6.0] * 7, [8.5] * 6 + [np.nan]])}, "too few for 1 of 2"),
    ],
)
def test_labels_that_do_not_fit(make, settings, labels, message):
    with pytest.raises(DataError, match=message):
        make(8, settings, labels, nnx.Rngs(0))


def test_labels_that_fit():
    make_usdl(8, SCORES, DIVES, nnx.Rngs(0))
    make_musdl(8, MARKS, DIVES, nnx.Rngs(0))
    make_musdl(8, ITEMS, RATINGS | {"difficulty": np.full(2, np.nan)}, nnx.Rngs(0))
    alone = dataclasses.replace(MARKS, times_difficulty=False)
    assert make_musdl(8, alone, DIVES | {"difficulty": np.full(2, np.nan)}, nnx.Rngs(0)).columns == ("score", "judges")
