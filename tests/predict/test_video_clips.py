from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqa_jax.data import decode
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import DataError, DecodeError
from aqa_jax.predict.sandbox import Sandbox
from aqa_jax.predict.video_clips import choose_frames, read_clips

DEMO = Path(__file__).parents[1] / "data" / "videos" / "demo.mp4"
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


def test_frames_that_are_made_up_are_told(tmp_path):
    """H.264 as cameras write it: a decoder conceals what it cannot read, and every frame comes."""
    data = bytearray(DEMO.read_bytes())
    data[int(len(data) * 0.4)] ^= 8
    (tmp_path / "a.mp4").write_bytes(data)
    with Sandbox() as sandbox:
        whole = read_clips(DEMO, WINDOW, (16, 24), (16, 16), sandbox=sandbox)
        made_up = read_clips(tmp_path / "a.mp4", WINDOW, (16, 24), (16, 16), sandbox=sandbox)
    assert whole.damage == () and whole.damage_in_words is None
    assert made_up.num_frames == whole.num_frames == 280
    assert "error while decoding" in made_up.damage_in_words


def test_a_few_missing_frames_are_told(tmp_path):
    data = grey_video(tmp_path / "a.avi", range(10, 250)).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: int(len(data) * 0.92)])
    clips = read_clips(tmp_path / "cut.avi", WINDOW, (16, 24), (16, 16))
    assert clips.num_frames < 240 and clips.damage == (f"{clips.num_frames} of 240 frames can be decoded",)


@pytest.mark.parametrize(
    "result",
    [
        None,
        (np.zeros((3, 4, 16, 16, 3), np.uint8), 12),
        (np.zeros((3, 4, 16, 17, 3), np.uint8), 12, 12),
        (np.zeros((3, 4, 16, 16, 3), np.float32), 12, 12),
        (np.zeros((3, 4, 16, 16, 3), np.uint8), -1, 12),
        (np.zeros((3, 4, 16, 16, 3), np.uint8), 12, "12"),
    ],
)
def test_a_child_is_not_believed(result):
    class Taken:
        def call_listening(self, *arguments):
            return result, []

    with pytest.raises(DecodeError, match="something else than clips"):
        read_clips("a.mp4", WINDOW, (16, 24), (16, 16), sandbox=Taken())
