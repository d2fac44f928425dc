import dataclasses
import types

import numpy as np
import pytest

from aqa_jax.config import Config
from aqa_jax.evaluate import familiarity
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train import trust
from aqa_jax.train.trust import Evaluated, evaluate_checkpoint, learn_familiarity

SIZES = {"train": 60, "validation": 30, "test": 40}


@pytest.fixture
def run(monkeypatch):
    """A run whose model predicts at once: its rows stand for the videos' features."""
    config = Config()
    rng = np.random.default_rng(0)
    ends = np.cumsum(list(SIZES.values()))
    rows = {split: np.arange(end - SIZES[split], end) for split, end in zip(SIZES, ends, strict=True)}
    mean, sigma = rng.normal(60, 10, ends[-1]), rng.uniform(2, 6, ends[-1])
    score = mean + sigma * rng.standard_normal(ends[-1])

    def outputs(run, state, split, name, chosen=None):
        kept = rows[split] if chosen is None else chosen
        asked.append((split, kept))
        pair = np.stack([mean[kept] - sigma[kept], mean[kept] + sigma[kept]], -1)
        features = np.stack([kept, kept % 7], -1).astype(float)
        return {
            "mean": mean[kept], "point": mean[kept] + 1, "sigma": sigma[kept] / 2, "early": features,
            "intervals": np.repeat(pair[:, None], 4, 1), "features": features,
        }  # fmt: skip

    asked = []
    monkeypatch.setattr(trust, "_outputs", outputs)
    return types.SimpleNamespace(
        config=config,
        rows=rows,
        task=ScoreTask(config),
        labels=lambda split: {"score": score[rows[split]]},
        asked=asked,
    )


def changed(run, **evaluate):
    run.config = dataclasses.replace(run.config, evaluate=dataclasses.replace(run.config.evaluate, **evaluate))
    return run


def test_figures_are_recalibrated_on_validation_alone(run):
    found = evaluate_checkpoint(run, {}, 3)
    assert [split for split, _ in run.asked] == ["test", "validation"]
    assert found.recalibration.videos == 30
    np.testing.assert_allclose(found.outputs["sigma"], found.recalibration.temperature * found.outputs["raw_sigma"])
    assert found.figures["nll"] < found.raw["nll"] and "rho" not in found.raw
    # Raw and corrected sigmas are compared with the same single one.
    assert found.figures["nll_gain"] - found.raw["nll_gain"] == pytest.approx(found.raw["nll"] - found.figures["nll"])
    assert set(found.entries()) == {"raw", "recalibration"}


@pytest.mark.parametrize(("point", "centre"), [("mean", "mean"), ("mode", "point"), ("sample", "mean")])
def test_intervals_lie_around_what_is_reported_but_not_around_a_draw(run, point, centre):
    found = evaluate_checkpoint(changed(run, point=point), {}, 3)
    np.testing.assert_allclose(found.outputs["intervals"].mean((1, 2)), found.outputs[centre])


@pytest.mark.parametrize(
    ("change", "step", "why"),
    [
        ({"recalibration": "none"}, 3, "config.evaluate.recalibration=none"),
        ({}, 0, "imported"),
        ({"validation": 0}, 3, "no validation split"),
        ({"validation": 4}, 3, "4 validation videos: at least 5"),
    ],
)
def test_where_nothing_is_learnt_the_figures_are_raw_and_say_why(run, change, step, why):
    if "validation" in change:
        run.rows["validation"] = run.rows["validation"][: change["validation"]]
    else:
        changed(run, **change)
    found = evaluate_checkpoint(run, {}, step)
    assert found.recalibration is None and found.raw is None
    assert why in found.entries()["recalibration"]["raw"]
    assert found.figures["nll_constant"] is not None


def test_of_many_training_videos_a_sample_by_seed_is_kept(run, monkeypatch):
    monkeypatch.setattr(familiarity, "MAX_VIDEOS", 20)
    evaluated = Evaluated({}, {}, validation=trust._outputs(run, {}, "validation", ""))
    first = learn_familiarity(run, {}, evaluated)
    rows = run.asked[-1][1]
    assert len(set(rows)) == 20 and list(rows) == sorted(rows) and set(rows) <= set(run.rows["train"])
    np.testing.assert_array_equal(learn_familiarity(run, {}, evaluated).known, first.known)
    run.config = dataclasses.replace(run.config, seed=1)
    assert not np.array_equal(learn_familiarity(run, {}, evaluated).known, first.known)
    assert "30 validation videos" in first.words
    assert "left out in turn" in learn_familiarity(run, {}, Evaluated({}, {})).words
    assert learn_familiarity(changed(run, familiarity_neighbours=0), {}, evaluated) is None
