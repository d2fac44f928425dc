from types import SimpleNamespace

import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.errors import DecodeError
from aqa_jax.predict.facts import Facts, read_facts
from tests.predict.test_extras import PORTRAIT


def test_sizes_are_those_of_upright_frames(tmp_path):
    assert read_facts(PORTRAIT) == Facts(30.0, 320, 568, "h264")
    decode.write_video(tmp_path / "a.avi", [np.zeros((32, 48, 3), np.uint8)] * 3, fps=12.5)
    assert read_facts(tmp_path / "a.avi") == Facts(12.5, 48, 32, "MJPG")


GOOD = {"fps": 25.0, "height": 32, "width": 48, "codec": "h264"}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [1],
        GOOD | {"width": -5},
        GOOD | {"height": 10**9},
        GOOD | {"fps": "x"},
        GOOD | {"width": float("inf")},
    ],
)
def test_a_process_that_was_taken_over_is_not_believed(answer):
    with pytest.raises(DecodeError, match="sent no facts"):
        read_facts("a.mp4", SimpleNamespace(call=lambda *_: answer))


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 90000.0])
def test_an_impossible_rate_is_none(fps):
    found = read_facts("a.mp4", SimpleNamespace(call=lambda *_: GOOD | {"fps": fps, "codec": "\x1b[3"}))
    assert found == Facts(None, 48, 32, "")
