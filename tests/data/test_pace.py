import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqa_jax.data.pace import PaceWindow
from aqa_jax.errors import ConfigError, DataError

OURS = PaceWindow()
FAITHFUL = PaceWindow(faithful=True)


def test_one_segment_advances_by_its_pace():
    frames = OURS.frames(200, 10, segment=1, pace=4)
    assert frames.shape == (1, 32) and frames[0, 0] == 10
    np.testing.assert_array_equal(np.diff(frames[0]), [1] * 8 + [4] * 8 + [1] * 15)


def test_the_original_plays_one_frame_too_many_fast():
    frames = FAITHFUL.frames(200, 10, segment=1, pace=4)
    np.testing.assert_array_equal(np.diff(frames[0]), [1] * 8 + [4] * 9 + [1] * 14)
    last = FAITHFUL.frames(200, 10, segment=3, pace=4)
    np.testing.assert_array_equal(np.diff(last[0]), [1] * 24 + [4] * 7)  # nothing comes after the last segment


def test_the_original_goes_back_to_the_first_frame():
    frames = FAITHFUL.frames(40, 30, segment=0, pace=4)[0]
    np.testing.assert_array_equal(frames[:5], [30, 34, 38, 0, 4])
    looped = OURS.frames(40, 30, segment=0, pace=4)[0]
    np.testing.assert_array_equal(looped[:5], [30, 34, 38, 2, 6])


@settings(deadline=None)
@given(
    num_frames=st.integers(32, 400), base=st.integers(1, 4), seed=st.integers(0, 1000), faithful=st.booleans(),
    segments=st.sampled_from([2, 4, 8]),
)  # fmt: skip
def test_every_frame_is_in_the_video(num_frames, base, seed, faithful, segments):
    paces = tuple(p for p in range(1, 6) if p != base)
    window = PaceWindow(32, segments, base, paces, faithful)
    frames, (segment, pace) = window.draw(num_frames, np.random.default_rng(seed))
    assert frames.shape == (1, 32) and frames.dtype == np.int64
    assert frames.min() >= 0 and frames.max() < num_frames
    assert 0 <= segment < segments
    assert window.pace_classes[pace] in paces


def test_where_a_clip_starts_tells_nothing_about_its_pace():
    rng = np.random.default_rng(0)
    starts = {pace: [] for pace in range(4)}
    for _ in range(4000):
        frames, (_, pace) = OURS.draw(100, rng)
        starts[pace].append(frames[0, 0])
        assert (np.diff(frames[0]) > 0).all()  # the fastest clip fits: no jump to tell it by
    # 32 frames and 4 more for each of 8: starts 0 to 36, for every pace alike.
    assert {(min(s), max(s)) for s in starts.values()} == {(0, 36)}
    assert np.ptp([np.mean(s) for s in starts.values()]) < 2


def test_classes():
    assert OURS.pace_classes == (2, 3, 4, 5)
    assert PaceWindow(base_step=3, paces=(1, 2, 4, 5)).pace_classes == (1, 2, 4, 5)
    assert FAITHFUL.pace_classes == (1, 2, 3, 4, 5)  # five, of which the base step never occurs
    _, (_, pace) = FAITHFUL.fixed(200, 0, row=0, view=0, views=1, seed=0)
    assert pace == 1


def test_tests_are_the_same_every_time_and_balanced():
    labels = []
    for row in range(8):
        for view in range(4):
            frames, classes = OURS.fixed(200, 0, row, view, 4, seed=3)
            again, _ = OURS.fixed(200, 0, row, view, 4, seed=3)
            np.testing.assert_array_equal(frames, again)
            labels.append(classes)
    pairs, counts = np.unique(labels, axis=0, return_counts=True)
    assert len(pairs) == 16 and set(counts) == {2}


def test_a_shuffled_clip_has_the_same_frames():
    frames, _ = OURS.draw(200, np.random.default_rng(0))
    shuffled = OURS.shuffled(frames, np.random.default_rng(1))
    assert sorted(shuffled[0]) == sorted(frames[0]) and not np.array_equal(shuffled, frames)


def test_refused():
    with pytest.raises(DataError, match="31 frames is shorter than the clip of 32"):
        OURS.frames(31, 0, 0, 2)
    with pytest.raises(ConfigError, match="equal segments"):
        PaceWindow(clip_length=30)
    with pytest.raises(ConfigError, match="without the base step of 2"):
        PaceWindow(base_step=2)
    with pytest.raises(ConfigError, match="two different"):
        PaceWindow(paces=(2,))
    with pytest.raises(ConfigError, match="paces 1 to 5"):
        PaceWindow(faithful=True, paces=(2, 6))
