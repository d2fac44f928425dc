"""The rendered motion: deterministic, and its targets are what the poses do."""

import importlib

import numpy as np
import pytest

from aqa_jax.data.build import build, builder_class
from aqa_jax.data.video_store import VideoStore

builder_class("synthetic_motion")  # puts data_builders/ on the path
world = importlib.import_module("synthetic_motion.world")


@pytest.fixture(scope="module")
def motions():
    return [world.sample_motion(0, index) for index in range(300)]


def test_a_motion_is_a_function_of_seed_and_index():
    first, again, other = (np.stack(list(world.render(world.sample_motion(s, 4)))) for s in (1, 1, 2))
    assert first.shape == (world.FRAMES, 32, 32, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_turning_targets_are_those_of_the_angle(motions):
    for m in motions:
        steps = np.diff(m.angle)
        assert np.abs(steps).mean() == pytest.approx(m.targets["turn_rate"], abs=0.05)
        if np.isfinite(m.targets["direction"]):
            assert (np.sign(steps) == m.targets["direction"]).all()
        else:
            assert not steps.any()


def test_pauses_stand_still(motions):
    paused = [m for m in motions if m.targets["pause_length"] > 3]
    assert len(paused) > 50
    for m in paused:
        steps = np.abs(np.diff(m.angle, prepend=m.angle[0]))
        inside = np.abs(np.arange(world.FRAMES) - m.targets["pause_time"]) < m.targets["pause_length"] / 2
        assert steps[inside].max() < 0.25 * steps[1:].max()


def test_every_target_varies_and_is_defined_often_enough(motions):
    for name in world.TARGETS:
        values = np.array([m.targets[name] for m in motions])
        values = values[np.isfinite(values)]
        assert len(values) > 20 and values.std() > 0, name


def test_another_size_is_the_same_motion():
    m = world.sample_motion(0, 9)
    large = np.stack(list(world.render(m, size=64)))
    small = np.stack(list(world.render(m))).astype(float)
    shrunk = large.reshape(len(large), 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(shrunk - small).mean() < 4


def test_build_puts_every_target_in_a_column(tmp_path):
    options = {"train_videos": 6, "test_videos": 3}
    path = build("synthetic_motion", data_dir=tmp_path, options=options, workers=0)
    store = VideoStore.open(path)
    assert len(store.table.rows("train")) == 6 and len(store.table.rows("test")) == 3
    m = world.sample_motion(0, 6)
    row = store.table.rows("test")[0]
    for name in world.TARGETS:
        np.testing.assert_equal(store.table.column(name)[row], m.targets[name])
