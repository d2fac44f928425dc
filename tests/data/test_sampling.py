import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.predict.video_clips import choose_frames

MTL = ClipWindow()


def test_published_clips():
    frames = MTL.evaluate(109, eval_start=0)
    assert frames.shape == (10, 16) and MTL.num_clips == 10
    np.testing.assert_array_equal(frames[:, 0], [0, 10, 20, 30, 40, 50, 60, 70, 80, 87])
    np.testing.assert_array_equal(frames[-1], np.arange(87, 103))
    np.testing.assert_array_equal(MTL.evaluate(109, eval_start=3), frames + 3)


@settings(deadline=None)
@given(num_frames=st.integers(103, 130), seed=st.integers(0, 100))
def test_training_windows_stay_inside_and_reach_every_shift(num_frames, seed):
    frames = MTL.train(num_frames, np.random.default_rng(seed))
    start = frames[0, 0]
    assert 0 <= start <= min(6, num_frames - 103)
    np.testing.assert_array_equal(frames, MTL.frames(0) + start)


def test_every_shift_occurs_equally_often():
    rng = np.random.default_rng(0)
    starts = [MTL.train(109, rng)[0, 0] for _ in range(1400)]
    assert np.bincount(starts, minlength=7).min() > 150 and max(starts) == 6


def test_views_cover_the_shifts():
    starts = [MTL.evaluate(109, 3, view, 3)[0, 0] for view in range(3)]
    assert starts == [0, 3, 6]
    assert [MTL.evaluate(103, 0, view, 3)[0, 0] for view in range(3)] == [0, 0, 0]


def test_too_few_frames():
    with pytest.raises(DataError, match="102 frames is shorter than the window of 103"):
        MTL.train(102, np.random.default_rng(0))
    with pytest.raises(DataError, match="leaves the 105 stored"):
        MTL.evaluate(105, eval_start=3)


@pytest.mark.parametrize("wrong", [{"window": 102}, {"clip_starts": ()}, {"clip_starts": (-1,)}, {"max_shift": -1}])
def test_impossible_windows(wrong):
    with pytest.raises(ConfigError):
        ClipWindow(**wrong)


def test_shuffled_frames_are_the_same_frames():
    frames = MTL.evaluate(109, 3)
    shuffled = MTL.shuffled(frames, np.random.default_rng(0))
    assert not np.array_equal(frames, shuffled)
    assert set(shuffled.ravel()) == set(range(3, 106))
    # One permutation for the window: a frame that two clips share is replaced by one and the same frame.
    replaced = dict(zip(frames.ravel(), shuffled.ravel(), strict=True))
    np.testing.assert_array_equal(np.vectorize(replaced.get)(frames), shuffled)


def test_a_window_spread_over_the_video():
    spread = ClipWindow(160, 16, tuple(range(0, 160, 16)), max_shift=0, spread=True)
    frames = spread.evaluate(1000, 0)
    # MUSDL's own line on JIGSAWS.
    np.testing.assert_array_equal(frames.ravel(), np.linspace(0, 999, num=160, dtype=int))
    assert frames.shape == (10, 16)
    np.testing.assert_array_equal(frames, spread.train(1000, np.random.default_rng(0)))
    np.testing.assert_array_equal(spread.evaluate(160, 0).ravel(), np.arange(160))
    with pytest.raises(DataError, match="159 frames is shorter than the window of 160"):
        spread.evaluate(159, 0)
    shuffled = spread.shuffled(frames, np.random.default_rng(0))
    assert not np.array_equal(frames, shuffled) and set(shuffled.ravel()) == set(frames.ravel())
    assert choose_frames(1000, spread)[1] == 1.0 and choose_frames(100, spread)[1] < 1
    np.testing.assert_array_equal(choose_frames(1000, spread)[0], frames)
    with pytest.raises(ConfigError, match="cannot be shifted by 6"):
        ClipWindow(spread=True)
