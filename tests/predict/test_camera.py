import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.modes import Request
from aqa_jax.modes import predict as mode
from aqa_jax.predict import camera
from tests.predict.untrained import configured


class Camera:
    """Sends so many frames, brighter and brighter, of an odd width."""

    def __init__(self, frames):
        self.left = frames

    def isOpened(self):
        return True

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((48, 65, 3), 200 - self.left, np.uint8)

    def release(self):
        pass


@pytest.fixture
def connected(monkeypatch):
    """Connects cameras by their number; files are opened as always."""
    cameras = {}
    opened = decode.cv2.VideoCapture

    def open_any(which, *backend):
        return opened(which, *backend) if isinstance(which, str) else cameras.get(which) or opened("nothing")

    monkeypatch.setattr(decode.cv2, "VideoCapture", open_any)
    return cameras


@pytest.mark.parametrize(("name", "number"), [("camera", 0), ("camera:2", 2), ("camera.mp4", None), ("cam", None)])
def test_names_of_cameras(name, number):
    assert camera.camera_of(name) == number


def test_a_take_has_the_rate_and_length_of_the_camera(connected, tmp_path):
    connected[1] = Camera(100)
    awake = connected[1].left - 1

    def clock():
        return 0.05 * (awake - connected[1].left)  # twenty frames a second

    assert camera.record(1, 2.0, tmp_path / "a.mp4", clock=clock) == 40
    assert decode.count_frames(tmp_path / "a.mp4") == 40
    capture = decode.cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(decode.cv2.CAP_PROP_FPS) == pytest.approx(20)
    first = next(decode.iterate_frames(tmp_path / "a.mp4"))
    assert first.shape == (48, 64, 3) and abs(first.mean() - (200 - 88)) < 4  # after the eleven that settle it


@pytest.mark.parametrize(("frames", "says"), [(5, "sends no pictures"), (15, r"stopped after 4 of \d+ frames")])
def test_a_camera_that_fails_leaves_no_file(connected, tmp_path, frames, says):
    connected[0] = Camera(frames)
    with pytest.raises(DataError, match=says):
        camera.record(0, 5.0, tmp_path / "a.mp4", clock=iter((0.0, 0.5)).__next__)
    assert not list(tmp_path.iterdir())


def test_without_a_camera_the_mode_says_so_before_the_model_is_loaded(connected, tmp_path):
    request = Request(configured(), tmp_path / "none", ("camera:3",), tmp_path / "out")
    with pytest.raises(DataError, match=r"no camera 3 can be opened \(this machine .*\): is it plugged in"):
        mode.run(request)
    assert not list((tmp_path / "out").iterdir())


def test_an_unknown_extra_is_refused_before_the_model_is_loaded(tmp_path):
    config = configured(**{"predict.extras": "video,thumbs"})
    with pytest.raises(ConfigError, match="thumbs is none of video, distribution, keyframes, why, report, all"):
        mode.run(Request(config, tmp_path / "none", (str(tmp_path),), tmp_path / "out"))
