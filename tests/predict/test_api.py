"""A model in Python says what the command line says."""

import logging
from logging.handlers import BufferingHandler

import numpy as np
import pytest
from absl import logging as absl_logging

import aqa_jax
from aqa_jax.data import decode
from aqa_jax.data.checksums import digest
from aqa_jax.errors import CheckpointError, ChecksumError, ConfigError, DataError, DecodeError
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict


@pytest.fixture(scope="module")
def model(untrained_workdir):
    heard, before = BufferingHandler(100), absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("absl").addHandler(heard)
    with aqa_jax.load(untrained_workdir, decode_seconds=60.0) as one:
        assert not heard.buffer  # Orbax's warnings are not for whoever scores a video.
        logging.getLogger("absl").removeHandler(heard)
        assert absl_logging.get_verbosity() == absl_logging.WARNING
        absl_logging.set_verbosity(before)
        yield one


@pytest.fixture(scope="module")
def frames():
    """Upright frames uint8 [20, 48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.avi"
    decode.write_video(path, frames, fps=10)
    return path


def test_the_same_score_as_from_the_command_line(model, video, tmp_path):
    scorer = model.scorer
    report = predict(
        find_videos(video), scorer, tmp_path, form=scorer.input_format, batch_size=scorer.batch_size, progress=False,
        score_range=scorer.trained_on["score_range"], model=scorer.describe(),
    )  # fmt: skip
    told = model.score(video)
    assert told.row == report.rows[0]
    assert (told.score, told.sigma) == (told.row["score"], told.row["sigma"])
    np.testing.assert_allclose(told.interval(0.9), (told.row["low90"], told.row["high90"]), rtol=1e-6)
    assert told.distribution.mean.shape == (1,)
    assert str(told).startswith(f"{told.score:.2f} ± {told.sigma:.2f} (90 %: ")


def test_frames_are_scored_as_a_file_of_them(model, video):
    decoded = np.stack(list(decode.iterate_frames(video)))
    told = model.score(decoded, fps=10.0)
    assert told.score == model.score(video).score
    assert told.row["seconds"] == 2.0 and (told.row["height"], told.row["width"]) == (48, 64)
    assert told.score != model.score(255 - decoded).score


@pytest.mark.parametrize(
    "wrong", [np.zeros((20, 8, 8, 3)), np.zeros((20, 8, 8), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)]
)
def test_what_are_no_frames_is_said(model, wrong):
    with pytest.raises(DataError, match=r"frames are uint8 RGB \[F, H, W, 3\]|at least two"):
        model.score(wrong)


def test_many_keep_their_order_and_one_that_fails_its_place(model, video, frames, tmp_path):
    (tmp_path / "no.mp4").write_text("not a video " * 50)
    told = model.score_many([video, tmp_path / "no.mp4", frames, tmp_path / "gone.mp4", video])
    assert isinstance(told[1], DecodeError) and "not a video" in str(told[1])
    assert isinstance(told[3], DataError) and "no such file" in str(told[3])
    assert told[0].score == told[4].score == model.score(video).score
    assert told[2].score == model.score(frames).score
    with pytest.raises(ConfigError, match="2 videos, 1 difficulties"):
        model.score_many([video, video], [1.0])
    with pytest.raises(DecodeError, match="not a video"):
        model.score(tmp_path / "no.mp4")


def test_a_file_that_is_another_than_was_recorded_is_not_scored(model, video, tmp_path):
    for name in ("a.avi", "b.avi"):
        (tmp_path / name).write_bytes(video.read_bytes())
    (tmp_path / "SHA256SUMS").write_text("".join(f"{digest(video)}  {name}\n" for name in ("a.avi", "b.avi")))
    with open(tmp_path / "b.avi", "ab") as file:
        file.write(b"\0")
    told = model.score_many([tmp_path / "a.avi", tmp_path / "b.avi", video])
    assert (told[0].row["checksum"], told[2].row["checksum"]) == ("verified", "none")
    assert isinstance(told[1], ChecksumError)
    with pytest.raises(ChecksumError, match=r"b\.avi: differs from the checksum recorded for it"):
        model.score(tmp_path / "b.avi")


def test_what_cannot_be_meant_is_said(model, frames, monkeypatch):
    with pytest.raises(DataError, match="fps is a positive number"):
        model.score(frames, fps=0.0)
    for one in ("dive.mp4", frames):
        with pytest.raises(ConfigError, match="takes a list of videos"):
            model.score_many(one)
    monkeypatch.setattr(type(model), "needs_difficulty", True)
    for wrong in (-1.0, 0.0, float("nan")):
        with pytest.raises(ConfigError, match="a positive number"):
            model.score(frames, wrong)


def test_what_cannot_be_loaded_is_said(untrained_workdir, tmp_path):
    with pytest.raises(ConfigError, match=r"none does not exist: give a run's --workdir, or a bundle"):
        aqa_jax.load(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"config.predict.dtpe: did you mean config.predict.dtype"):
        aqa_jax.load(untrained_workdir, dtpe="bfloat16")
    (tmp_path / "config.json").write_bytes((untrained_workdir / "config.json").read_bytes())
    with pytest.raises((CheckpointError, DataError)):
        aqa_jax.load(tmp_path)
