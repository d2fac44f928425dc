"""The pretext task's arithmetic, with a model of fixed answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from aqa_jax.config_keys import Config, DataConfig, VsppConfig
from aqa_jax.models.jitter import colour_jitter
from aqa_jax.tasks.vspp import VsppTask

CONFIG = Config(task="vspp", data=DataConfig(clip_length=16), vspp=VsppConfig())
SEGMENTS, PACES = np.array([0, 1, 3]), np.array([2, 2, 0])


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    logits = {"segment": rng.standard_normal((3, 4)), "pace": rng.standard_normal((3, 4))}
    logits["segment"][[0, 1, 2], [0, 1, 2]] = 9.0  # two of three right
    logits["pace"][[0, 1, 2], [2, 3, 1]] = 9.0  # one of three right
    return {name: jnp.asarray(values, jnp.float32) for name, values in logits.items()}


@pytest.fixture
def batch():
    video = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 1, 4, 2, 2, 3)), jnp.uint8)
    return {"video": video, "segment": jnp.asarray(SEGMENTS), "pace": jnp.asarray(PACES)}


def test_loss_is_the_sum_of_two_cross_entropies(answers, batch):
    task = VsppTask(CONFIG)
    losses, figures = task.loss(lambda *_, **__: answers, batch, jax.random.key(0), jnp.zeros(()))
    wanted = -log_softmax(answers["segment"], -1)[np.arange(3), SEGMENTS]
    wanted -= log_softmax(answers["pace"], -1)[np.arange(3), PACES]
    np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(figures["segment_accuracy"], [1, 1, 0])
    np.testing.assert_array_equal(figures["pace_accuracy"], [1, 0, 0])


def test_report(answers, batch):
    task = VsppTask(CONFIG)
    outputs = {k: np.asarray(v) for k, v in task.outputs(lambda *_: answers, batch).items()}
    report = task.report(outputs, {}, bootstrap=200)
    assert report["segment_accuracy"] == pytest.approx(2 / 3) and report["pace_accuracy"] == pytest.approx(1 / 3)
    assert report["mean_accuracy"] == pytest.approx(0.5)
    wanted = np.zeros((4, 4))
    for truth, answer in ((0, 0), (1, 1), (3, 2)):
        wanted[truth, answer] += 1 / 3
    np.testing.assert_allclose(report["segment_confusion"], wanted, rtol=1e-6)
    low, high = report["confidence"]["segment_accuracy"]
    assert 0 <= low < 2 / 3 < high <= 1
    assert report["paces"] == [2, 3, 4, 5]


def test_several_views_of_a_video_are_averaged_into_its_share_of_right_answers():
    confusion = np.zeros((2, 4, 4))
    confusion[0, 1, 1] = confusion[0, 2, 1] = 0.5  # one of two views right
    confusion[1, 3, 3] = 1
    outputs = {"segment_confusion": confusion, "pace_confusion": confusion, "loss": np.ones(2)}
    assert VsppTask(CONFIG).report(outputs, {}, bootstrap=0)["segment_accuracy"] == pytest.approx(0.75)


def test_the_faithful_head_has_a_class_that_never_occurs():
    config = dataclasses.replace(CONFIG, vspp=VsppConfig(faithful=True, base_step=3))
    assert VsppTask(config).window.pace_classes == (1, 2, 3, 4, 5)
    assert VsppTask(config).window.paces == (1, 2, 4, 5)


def test_jitter_changes_looks_and_not_motion(batch):
    video = jnp.asarray(np.random.default_rng(1).integers(60, 190, (3, 1, 4, 2, 2, 3)), jnp.uint8)
    jittered = np.asarray(colour_jitter(video, 0.2, jax.random.key(1)))
    assert jittered.min() >= 0 and jittered.max() <= 255
    assert not np.allclose(jittered, video, atol=2)
    np.testing.assert_allclose(colour_jitter(video, 0.0, jax.random.key(1)), video, atol=1e-3)
    # Every frame of a clip is changed alike: equal frames stay equal; and clips are changed differently.
    still = jnp.broadcast_to(video[:1, :, :1], video.shape)
    out = np.asarray(colour_jitter(still, 0.2, jax.random.key(2)))
    assert np.ptp(out, axis=2).max() < 1e-3
    assert np.abs(out[0] - out[1]).max() > 1


def test_jitter_is_applied_only_if_asked_for(answers, batch):
    seen = []

    def model(video, mode, **_):
        seen.append(np.asarray(video))
        return answers

    for strength in (0.0, 0.3):
        config = dataclasses.replace(CONFIG, vspp=VsppConfig(colour_jitter=strength))
        VsppTask(config).loss(model, batch, jax.random.key(0), jnp.zeros(()))
    np.testing.assert_array_equal(seen[0], batch["video"])
    assert not np.array_equal(seen[1], batch["video"])
