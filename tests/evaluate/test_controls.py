import numpy as np
import pytest

from aqa_jax.data.video_store import VideoTable
from aqa_jax.evaluate import controls


class MemoryStore:
    """A store in memory: a video's level follows `look`, its frame-to-frame change `motion`."""

    def __init__(self, look, motion, score, difficulty, split, **extra):
        n = len(score)
        rng = np.random.default_rng(0)
        signs = np.resize([1, -1], 12)[None, :, None, None, None] * rng.choice([-1, 1], (n, 1, 4, 5, 3))
        videos = 120 + np.reshape(look, (n, 1, 1, 1, 1)) + np.reshape(motion, (n, 1, 1, 1, 1)) * signs
        videos[:, :2] = 0  # before the published window: must not be seen
        self.videos = np.clip(videos, 0, 255).astype(np.uint8)
        columns = {"id": [f"v{i}" for i in range(n)], "split": list(split), "score": list(score), **extra}
        columns |= {"difficulty": list(difficulty), "num_frames": [12] * n, "eval_start": [2] * n}
        self.table = VideoTable(columns)

    def read(self, row, frames):
        return self.videos[row, frames]


def test_ridge_is_the_closed_form_of_its_strength():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 2, (40, 6)), rng.normal(3, 2, (15, 6))
    y = train @ rng.normal(size=6) + rng.normal(size=40)
    predicted, strength = controls.ridge(train, y, test)
    centred = train - train.mean(0)
    penalty = strength * np.trace(centred @ centred.T) / 40
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(6), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(predicted, y.mean() + (test - train.mean(0)) @ weights, rtol=1e-6)


def test_ridge_chooses_its_strength_by_the_noise():
    rng = np.random.default_rng(0)
    train, weights = rng.normal(size=(60, 30)), rng.normal(size=30)
    signal = train @ weights
    _, weak = controls.ridge(train, signal + 0.01 * rng.normal(size=60), train)
    _, strong = controls.ridge(train, signal + 20 * rng.normal(size=60), train)
    assert weak < 1e-2 < strong


def test_ridge_with_more_features_than_videos_finds_a_plain_signal():
    rng = np.random.default_rng(0)
    level = rng.normal(size=90)
    features = (level[:, None] + 0.1 * rng.normal(size=(90, 400))).astype(np.float32)
    predicted, _ = controls.ridge(features[:60], level[:60], features[60:])
    assert np.corrcoef(predicted, level[60:])[0, 1] > 0.99


def test_ridge_of_constant_features_is_the_mean():
    predicted, _ = controls.ridge(np.ones((5, 3)), np.arange(5.0), np.ones((2, 3)))
    np.testing.assert_array_equal(predicted, [2, 2])


def test_straight_line_is_numpys():
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(3, 20))
    np.testing.assert_allclose(controls.straight_line(x, y, new), np.polyval(np.polyfit(x, y, 1), new))


def test_features_by_hand():
    frames = np.zeros((3, 1, 2, 3), np.uint8)
    frames[:, 0, 0, 0] = [0, 255, 3]
    assert controls.mean_frame(frames)[0, 0, 0] == pytest.approx(86)
    assert controls.mean_abs_difference(frames)[0, 0, 0] == pytest.approx((255 + 252) / 2)
    assert controls.mean_abs_difference(frames[:1]).max() == 0


def test_each_control_finds_its_own_cue_and_no_other():
    rng = np.random.default_rng(1)
    look, motion = rng.uniform(-40, 40, 150), rng.uniform(5, 40, 150)
    split = np.repeat(["train", "test"], [100, 50])
    nothing = np.full(150, np.nan)
    by_look = controls.compare(MemoryStore(look, motion, 60 + look, nothing, split), window=10, bootstrap=20)
    by_motion = controls.compare(MemoryStore(look, motion, motion, nothing, split), window=10, bootstrap=20)
    assert set(by_look) == {"ridge on the mean frame", "ridge on the mean abs difference"}
    assert by_look["ridge on the mean frame"]["rho"] > 0.99
    assert abs(by_look["ridge on the mean abs difference"]["rho"]) < 0.4
    assert by_motion["ridge on the mean abs difference"]["rho"] > 0.99
    assert by_motion["ridge on the mean frame"]["rho"] < 0.4
    assert by_motion["ridge on the mean frame"]["num_examples"] == 50


def test_difficulty_and_ceiling_come_in_where_the_table_has_them():
    rng = np.random.default_rng(2)
    quality, difficulty = rng.uniform(4, 9, 120), rng.uniform(2, 4, 120)
    score = 3 * quality * difficulty
    split = np.repeat(["train", "test"], [80, 40])
    store = MemoryStore(10 * quality, np.full(120, 5.0), score, difficulty, split, true_quality=list(quality))
    found = controls.compare(store, window=10, bootstrap=0)
    assert found["noise ceiling"]["rho"] == pytest.approx(1)
    assert found["noise ceiling"]["mae"] == pytest.approx(0, abs=1e-6)
    assert found["ridge on the mean frame, times difficulty"]["rho"] > 0.99
    assert found["ridge on the mean frame"]["rho"] < 0.95
    assert 0.2 < found["difficulty alone"]["rho"] < 0.95


def test_large_frames_are_averaged_down():
    store = MemoryStore(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2), ["train", "train"])
    store.videos = np.full((2, 12, 64, 48, 3), 7, np.uint8)
    features = controls.video_features(store, np.array([1, 0]), 5, size=8)
    assert features["mean_frame"].shape == (2, 8 * 8 * 3)
    np.testing.assert_allclose(features["mean_frame"], 7)
