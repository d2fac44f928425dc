"""What a call that is cut off leaves behind, and how the next one goes on."""

import errno
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.errors import ConfigError, StorageError
from aqa_jax.predict import scores_files
from aqa_jax.predict.inputs import find_videos
from tests.predict.test_predict import BrightnessScorer, read_rows, run


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i in range(5):
        decode.write_video(folder / f"v{i}.avi", [np.full((16, 16, 3), 40 * (i + 1), np.uint8)] * 8)
    return folder


class Killed(BaseException):
    pass


class KilledAt(BrightnessScorer):
    """Goes down at its n-th batch of one."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def score(self, video, difficulty, *, plain=False):
        if len(self.shapes) == self.n:
            raise Killed
        return super().score(video, difficulty)


def cut_off(videos, output, n=3, **arguments):
    with pytest.raises(Killed):
        run(videos, output, KilledAt(n), **({"batch_size": 1, "threads": 1} | arguments))
    assert sorted(path.name for path in output.iterdir()) == [scores_files.PARTIAL]


def test_the_next_call_goes_on_and_the_results_are_those_of_one(videos, tmp_path, capsys):
    folder = tmp_path / "named"
    folder.mkdir()
    for path in videos.iterdir():  # A name may hold what some call the end of a line.
        (folder / f"\u2028{path.name}").symlink_to(path)
    run(folder, tmp_path / "whole", batch_size=1, check=True)
    cut_off(folder, tmp_path / "cut", n=6, check=True)
    assert "3 scored videos are kept in" in capsys.readouterr().out
    # A kill in the middle of a line.
    with open(tmp_path / "cut" / scores_files.PARTIAL, "a") as file:
        file.write('{"row": {"file": "')
    scorer = BrightnessScorer()
    report = run(folder, tmp_path / "cut", scorer, batch_size=1, check=True, resume=True)
    assert len(scorer.shapes) == 2 * 2  # each by the plain model too
    assert len(report.rows) == 5 and report.check.videos == 5
    for name in ("scores.csv", "scores.json"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert not (tmp_path / "cut" / scores_files.PARTIAL).exists()


def test_without_resume_everything_is_scored_again_and_nothing_is_lost(videos, tmp_path, capsys):
    cut_off(videos, tmp_path / "out")
    kept = (tmp_path / "out" / scores_files.PARTIAL).read_text()
    scorer = BrightnessScorer()
    run(videos, tmp_path / "out", scorer, batch_size=1)
    assert len(scorer.shapes) == 5
    assert (tmp_path / "out" / "scores.interrupted.jsonl").read_text() == kept
    assert "--config.predict.resume=True would have gone on" in capsys.readouterr().out


def test_another_content_or_difficulty_is_scored_again(videos, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in videos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    given = {f"v{i}.avi": 1.0 for i in range(5)}
    cut_off(folder, tmp_path / "out", difficulty=given)
    (folder / "v0.avi").write_bytes((videos / "v4.avi").read_bytes())
    scorer = BrightnessScorer()
    report = run(folder, tmp_path / "out", scorer, batch_size=1, difficulty=given | {"v1.avi": 2.0}, resume=True)
    assert len(scorer.shapes) == 4
    np.testing.assert_allclose([row["score"] for row in report.rows], [200, 160, 120, 160, 200], atol=3)


def test_another_model_is_refused_and_named(videos, tmp_path):
    cut_off(videos, tmp_path / "out", model={"weights_sha256": "ab", "head": "dae"})
    with pytest.raises(ConfigError, match=r"(?s)made otherwise:\n  model.weights_sha256: ab -> cd\nGo on as it was"):
        run(videos, tmp_path / "out", batch_size=1, model={"weights_sha256": "cd", "head": "dae"}, resume=True)
    assert (tmp_path / "out" / scores_files.PARTIAL).exists()
    (tmp_path / "out" / scores_files.PARTIAL).write_text("nonsense\n")
    with pytest.raises(ConfigError, match="not a file of this version"):
        run(videos, tmp_path / "out", batch_size=1, resume=True)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_scored(videos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    scorer = BrightnessScorer()
    with pytest.raises(StorageError, match=r"file/out cannot be written \(.*\): give another --output"):
        run(videos, tmp_path / "file" / "out", scorer)
    monkeypatch.setattr(scores_files.shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(StorageError, match=r"has 3 MB free, the results may take 16"):
        run(videos, tmp_path / "out", scorer)
    assert not scorer.prepared


def test_a_disk_that_fills_up_is_said_and_what_was_scored_is_kept(videos, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"scores.partial.jsonl cannot be written \(No space left"):
        run(videos, tmp_path / "out", batch_size=1)
    monkeypatch.setattr(os, "fsync", real)
    lines = (tmp_path / "out" / scores_files.PARTIAL).read_text().splitlines()
    assert len(lines) >= 3
    scorer = BrightnessScorer()
    assert len(run(videos, tmp_path / "out", scorer, batch_size=1, resume=True).rows) == 5
    assert len(scorer.shapes) == 5 - (len(lines) - 1)


class Marks:
    """An extra that is a file, and cannot be made for one of the videos."""

    names = ("mark",)

    def __init__(self, output, **shows):
        self.output, self.made, self.shows = output, [], shows

    def room(self, videos):
        return 2**20

    def make(self, path, clips, row, sandbox):
        if path.name == "v2.avi":
            raise StorageError("no ink")
        self.made.append(path.name)
        (self.output / f"{path.stem}.mark").touch()
        return {"mark": [f"{path.stem}.mark"]}


def test_a_score_is_not_lost_for_want_of_a_picture(videos, tmp_path):
    output = tmp_path / "out"
    report = run(videos, output, batch_size=1, extras=Marks(output))
    assert report.exit_code == 1 and len(report.rows) == 5 and not report.errors
    rows = read_rows(output / "scores.csv")
    assert [row["error"] for row in rows] == ["", "", "scored, but not shown: no ink", "", ""]
    content = json.loads((output / "scores.json").read_text())["videos"]
    assert content[0]["extras"] == {"mark": ["v0.mark"]} and content[2]["extras"] == {}


def test_going_on_makes_the_extras_that_are_not_there(videos, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(Killed):
        run(videos, output, KilledAt(4), batch_size=1, threads=1, extras=Marks(output))
    (output / "v1.mark").unlink()
    marks = Marks(output)
    with pytest.raises(Killed):
        run(videos, output, KilledAt(2), batch_size=1, threads=1, extras=marks, resume=True)
    assert marks.made == ["v1.avi"]
    # What was made with names in it is not what was asked for without them.
    marks = Marks(output, names=False)
    run(videos, output, batch_size=1, extras=marks, resume=True)
    assert sorted(marks.made) == ["v0.avi", "v1.avi", "v3.avi", "v4.avi"]


def test_extras_are_made_beside_one_another_and_rows_keep_their_order(videos, tmp_path):
    class Together(Marks):
        """Each waits for another one."""

        both = threading.Barrier(2)

        def make(self, path, clips, row, sandbox):
            if path.name != "v4.avi":
                self.both.wait(60)
            return {"mark": [path.name]}

    report = run(videos, tmp_path / "out", batch_size=1, threads=2, extras=Together(tmp_path))
    assert [row["extras"]["mark"] for row in report.rows] == [[f"v{i}.avi"] for i in range(5)]
    assert [Path(row["file"]).name for row in report.rows] == [f"v{i}.avi" for i in range(5)]


def test_a_list_with_a_missing_file_scores_the_others(videos, tmp_path):
    (tmp_path / "list.txt").write_text(f"{videos / 'v0.avi'}\n{tmp_path / 'gone.mp4'}\n")
    report = run(tmp_path / "list.txt", tmp_path / "out")
    assert [Path(row["file"]).name for row in report.rows] == ["v0.avi"]
    assert report.errors == {str(tmp_path / "gone.mp4"): f"{tmp_path / 'gone.mp4'}: no such file"}
    assert find_videos(tmp_path / "list.txt").videos[1].name == "v0.avi"
