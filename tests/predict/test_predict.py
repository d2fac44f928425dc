import csv
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from aqa_jax.data import decode
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import RunError
from aqa_jax.predict import ahead, sandbox
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict

FORM = InputFormat(ClipWindow(window=8, clip_length=4, clip_starts=(0, 4), max_shift=2), (16, 24), (16, 16))


class Normal(NamedTuple):
    mean: np.ndarray
    sigma: np.ndarray

    def interval(self, level):
        return stats.norm(self.mean, self.sigma).interval(level)


class BrightnessScorer:
    """The score is the video's mean grey level (times the difficulty); remembers what it was asked."""

    def __init__(self):
        self.shapes, self.difficulties, self.prepared = [], [], []

    def prepare(self, batch_size):
        assert not self.shapes
        self.prepared.append(batch_size)

    def score(self, video, difficulty, *, plain=False):
        self.shapes.append(video.shape)
        self.difficulties.append(difficulty)
        mean = video.mean((1, 2, 3, 4, 5)) * (1 if difficulty is None else difficulty)
        return Normal(mean.astype(np.float32), np.full(len(video), 2, np.float32))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for i, (level, frames) in enumerate([(40, 8), (80, 9), (120, 30), (160, 8), (200, 4)]):
        decode.write_video(tmp_path / "in" / f"v{i}.avi", [np.full((32, 48, 3), level, np.uint8)] * frames)
    return tmp_path / "in"


def run(folder, output, scorer=None, **arguments):
    arguments = {"form": FORM, "batch_size": 2, "progress": False} | arguments
    return predict(find_videos(folder), scorer or BrightnessScorer(), output, **arguments)


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_scored_in_batches_of_one_size(folder, tmp_path):
    scorer = BrightnessScorer()
    report = run(folder, tmp_path / "out", scorer, score_range=(50, 180), model={"checkpoint_step": 7})
    assert report.exit_code == 0
    assert scorer.shapes == [(2, 2, 4, 16, 16, 3)] * 3 and scorer.prepared == [2]
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content["schema"] == "aqa_jax.scores/3" and content["model"] == {"checkpoint_step": 7}
    videos = content["videos"]
    np.testing.assert_allclose([video["score"] for video in videos], [40, 80, 120, 160, 200], atol=3)
    assert [video["frames"] for video in videos] == [8, 9, 30, 8, 4]
    assert [video["resampled"] for video in videos] == [False, False, True, False, True]
    assert [video["tempo"] for video in videos] == [1, 1, pytest.approx(29 / 7), 1, pytest.approx(3 / 7)]
    assert [video["out_of_training_range"] for video in videos] == [True, False, False, False, True]
    for video in videos:
        assert video["high50"] - video["low50"] == pytest.approx(2 * 2 * 0.67449, rel=1e-4)
        assert video["high90"] - video["low90"] == pytest.approx(2 * 2 * 1.64485, rel=1e-4)
    assert videos[0]["sha256"] == hashlib.sha256((folder / "v0.avi").read_bytes()).hexdigest()
    rows = read_rows(tmp_path / "out" / "scores.csv")
    assert [float(row["score"]) for row in rows] == pytest.approx([video["score"] for video in videos])
    assert [row["file"] for row in rows] == [str(folder / f"v{i}.avi") for i in range(5)]


def test_a_score_that_is_not_the_mean_and_unfamiliar_videos_are_told(folder, tmp_path):
    class Told(NamedTuple):
        mean: np.ndarray
        sigma: np.ndarray
        point: np.ndarray
        distance: np.ndarray
        unfamiliar: np.ndarray

        interval = Normal.interval

    class Judging(BrightnessScorer):
        def score(self, video, difficulty, *, plain=False):
            mean, sigma = super().score(video, difficulty)
            return Told(mean, sigma, mean + 1, mean / 100, mean > 100)

    told, plain = run(folder, tmp_path / "told", Judging()), run(folder, tmp_path / "plain")
    for one, other in zip(told.rows, plain.rows, strict=True):
        assert one["score"] == other["score"] + 1
        assert one["unfamiliar"] == (other["score"] > 100) and other["unfamiliar"] is None
    rows = read_rows(tmp_path / "told" / "scores.csv")
    assert [row["unfamiliar"] for row in rows] == ["False", "False", "True", "True", "True"]
    assert float(rows[0]["distance"]) == pytest.approx(0.4, abs=0.03)
    assert {row["unfamiliar"] for row in read_rows(tmp_path / "plain" / "scores.csv")} == {""}


def test_the_order_of_files_and_the_batch_size_change_no_score(folder, tmp_path):
    for size in (1, 5, 8):
        run(folder, tmp_path / str(size), batch_size=size)
    first = (tmp_path / "1" / "scores.csv").read_text()
    assert (tmp_path / "5" / "scores.csv").read_text() == first
    assert (tmp_path / "8" / "scores.csv").read_text() == first


def test_a_check_tells_the_largest_difference_from_the_plain_model(folder, tmp_path):
    class Rounded(BrightnessScorer):
        def score(self, video, difficulty, *, plain=False):
            mean, sigma = super().score(video, difficulty)
            return Normal(mean + (0 if plain else np.where(mean > 180, np.nan, mean / 100)), sigma + 0.5 * plain)

    report = run(folder, tmp_path / "out", Rounded(), check=True)
    largest = max(row["score"] for row in report.rows) / 101
    told = json.loads((tmp_path / "out" / "scores.json").read_text())["check"]
    assert told["videos"] == 5
    # The video without a score is an error of its own.
    assert told["largest_difference"] == {"score": pytest.approx(largest, rel=1e-3), "sigma": 0.5}
    assert "5 videos" in report.check.words and len(report.errors) == 1
    run(folder, tmp_path / "unchecked")
    assert json.loads((tmp_path / "unchecked" / "scores.json").read_text())["check"] is None


def test_few_videos_wait_decoded_however_many_there_are(folder, tmp_path, monkeypatch):
    read, waiting, most = ahead.read_clips, [], []

    def counted(path, *arguments, **options):
        waiting.append(path)
        most.append(len(waiting))
        return read(path, *arguments, **options)

    class Taking(BrightnessScorer):
        def score(self, video, difficulty, *, plain=False):
            del waiting[: len(video)]
            return super().score(video, difficulty)

    for i in range(20):
        (folder / f"copy{i}.avi").write_bytes((folder / "v0.avi").read_bytes())
    monkeypatch.setattr(ahead, "read_clips", counted)
    report = run(folder, tmp_path / "out", Taking(), threads=2)
    assert len(report.rows) == 25
    # A batch that is scored, and as many that wait as there are threads or places in a batch.
    assert max(most) <= 4


def test_one_bad_file_does_not_stop_the_others(folder, tmp_path):
    (folder / "v1b.mp4").write_text("not a video " * 50)
    (folder / "readme.md").write_text("beside")
    report = run(folder, tmp_path / "out")
    assert report.exit_code == 1
    assert len(report.rows) == 5
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert len(content["videos"]) == 5
    (error,) = content["errors"]
    assert error["file"].endswith("v1b.mp4") and "not a video" in error["error"]
    assert content["ignored"] == [str(folder / "readme.md")]
    rows = read_rows(tmp_path / "out" / "scores.csv")
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False, False]
    assert rows[2]["score"] == ""


def test_only_bad_files_still_make_a_report(tmp_path):
    (tmp_path / "a.mp4").touch()
    report = run(tmp_path / "a.mp4", tmp_path / "out")
    assert report.exit_code == 1 and not report.rows
    assert len(read_rows(tmp_path / "out" / "scores.csv")) == 1


def test_a_file_of_a_difficulty_without_exemplars_is_listed(folder, tmp_path):
    report = run(
        folder,
        tmp_path / "out",
        difficulty=dict.fromkeys(["v0.avi", "v1.avi"], 2.0) | {"v2.avi": 2.1},
        known_difficulties=(1.6, 2.0, 3.25),
    )
    assert [row["difficulty"] for row in report.rows] == [2.0, 2.0]
    error = report.errors[str(folder / "v2.avi")]
    assert "no exemplar of difficulty 2.1; it has those of 1.6, 2, 3.25" in error


def test_difficulty_is_one_for_all_or_by_file_name(folder, tmp_path):
    scorer = BrightnessScorer()
    run(folder, tmp_path / "out", scorer, difficulty=3.0, batch_size=5)
    np.testing.assert_array_equal(scorer.difficulties[0], np.full(5, 3, np.float32))
    scorer = BrightnessScorer()
    report = run(folder, tmp_path / "out", scorer, difficulty={"v0.avi": 2.0, "v3.avi": 1.5})
    np.testing.assert_array_equal(scorer.difficulties, [[2.0, 1.5]])
    assert len(report.errors) == 3
    assert "no difficulty is given for v1.avi" in report.errors[str(folder / "v1.avi")]


def test_a_score_that_is_not_finite_is_an_error_of_its_file(folder, tmp_path):
    class Broken(BrightnessScorer):
        def score(self, video, difficulty, *, plain=False):
            normal = super().score(video, difficulty)
            normal.mean[normal.mean > 180] = np.nan
            return normal

    report = run(folder, tmp_path / "out", Broken())
    assert list(report.errors) == [str(folder / "v4.avi")]
    json.loads((tmp_path / "out" / "scores.json").read_text(), parse_constant=pytest.fail)


def test_a_fault_of_the_program_is_not_hidden(folder, tmp_path):
    class Wrong(BrightnessScorer):
        def score(self, video, difficulty, *, plain=False):
            raise KeyError("head")

    with pytest.raises(KeyError):
        run(folder, tmp_path / "out", Wrong())
    assert not list((tmp_path / "out").iterdir())


def test_where_nothing_can_be_decoded_no_file_is_blamed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_CODE", "import sys; sys.exit('no OpenCV here')")
    with pytest.raises(RunError, match="did not start: no OpenCV here"):
        run(folder, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_file_names_are_no_formulas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    decode.write_video("=1+1.avi", [np.full((16, 16, 3), 9, np.uint8)] * 8)
    run("=1+1.avi", tmp_path / "out")
    assert read_rows(tmp_path / "out" / "scores.csv")[0]["file"] == "'=1+1.avi"


def test_real_files_of_any_size_length_and_rotation(tmp_path):
    videos = Path(__file__).parents[1] / "data" / "videos"
    report = run(videos, tmp_path / "out", batch_size=4)
    frames = {Path(row["file"]).name: row["frames"] for row in report.rows}
    assert frames == {"demo.mp4": 280, "rotated_90.mov": 3}
    assert list(report.errors) == [str(videos / "corrupted.mp4")]
    assert "28 of 50 frames" in report.errors[str(videos / "corrupted.mp4")]
