import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqa_jax.data import decode
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import DataError, DecodeError
from aqa_jax.predict.video_clips import choose_frames, read_clips

WINDOW = ClipWindow(window=12, clip_length=4, clip_starts=(0, 4, 8), max_shift=3)


def grey_video(path, levels, size=(32, 48)):
    decode.write_video(path, (np.full((*size, 3), level, np.uint8) for level in levels))
    return path


@pytest.mark.parametrize(("num_frames", "start"), [(12, 0), (13, 0), (14, 1), (15, 1)])
def test_about_a_window_of_frames_is_taken_from_the_middle(num_frames, start):
    frames, tempo = choose_frames(num_frames, WINDOW)
    np.testing.assert_array_equal(frames, WINDOW.evaluate(num_frames, start))
    assert tempo == 1


@given(st.integers(2, 100_000).filter(lambda n: not 12 <= n <= 15))
def test_any_other_length_is_spread_over_the_whole_action(num_frames):
    frames, tempo = choose_frames(num_frames, WINDOW)
    assert frames.shape == (3, 4)
    assert frames[0, 0] == 0 and frames[-1, -1] == num_frames - 1
    steps = np.diff(frames.ravel())
    assert (np.abs(steps - tempo) <= 1).all() and (steps >= 0).all()
    assert tempo == pytest.approx((num_frames - 1) / 11)


def test_one_frame_is_no_action(tmp_path):
    path = grey_video(tmp_path / "one.avi", [100])
    with pytest.raises(DataError, match=r"one\.avi.*(at least two are needed|not a video)"):
        read_clips(path, WINDOW, (16, 24), (16, 16))


def test_clips_hold_the_chosen_frames(tmp_path):
    path = grey_video(tmp_path / "a.mp4", range(10, 230, 10))
    clips = read_clips(path, WINDOW, (16, 24), (16, 16))
    assert clips.video.shape == (3, 4, 16, 16, 3) and clips.video.dtype == np.uint8
    assert clips.num_frames == 22 and clips.resampled and clips.tempo == pytest.approx(21 / 11)
    expected = 10 + 10 * choose_frames(22, WINDOW)[0]
    np.testing.assert_allclose(clips.video.mean((2, 3, 4)), expected, atol=4)


@pytest.mark.parametrize("claimed", [0, 1, 20, 23, 10_000])
def test_a_containers_count_is_not_believed(tmp_path, monkeypatch, claimed):
    """Where it is wrong, the frames are chosen by what decodes, or the file is damaged; never by what is claimed."""
    path = grey_video(tmp_path / "a.mp4", range(10, 230, 10))
    right = read_clips(path, WINDOW, (16, 24), (16, 16))

    class Lying:
        def __init__(self, *arguments):
            self.real = capture(*arguments)

        def get(self, what):
            return claimed if what == decode.cv2.CAP_PROP_FRAME_COUNT else self.real.get(what)

        def __getattr__(self, name):
            return getattr(self.real, name)

    capture = decode.cv2.VideoCapture
    monkeypatch.setattr(decode.cv2, "VideoCapture", Lying)
    if claimed > 100:
        with pytest.raises(DecodeError, match="22 of 10000 frames"):
            read_clips(path, WINDOW, (16, 24), (16, 16))
    else:
        told = read_clips(path, WINDOW, (16, 24), (16, 16))
        np.testing.assert_array_equal(told.video, right.video)
        assert told.num_frames == right.num_frames == 22


def test_frames_are_resized_then_cropped_in_the_centre(tmp_path):
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:, 16:48] = 250  # the middle half is white
    decode.write_video(tmp_path / "a.avi", [frame] * 12)
    whole = read_clips(tmp_path / "a.avi", WINDOW, (16, 32), (16, 32)).video
    centre = read_clips(tmp_path / "a.avi", WINDOW, (16, 32), (16, 16)).video
    np.testing.assert_array_equal(centre, whole[..., 8:24, :])
    assert centre[..., 1:-1, :].min() > 200 and whole[..., :6, :].max() < 50
    assert not read_clips(tmp_path / "a.avi", WINDOW, (16, 32), (16, 16)).resampled


def test_what_is_no_video_is_a_decode_error(tmp_path):
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "missing.mp4"):
        with pytest.raises(DecodeError, match=name):
            read_clips(tmp_path / name, WINDOW, (16, 24), (16, 16))
