"""Videos with a SHA256SUMS beside them: one that was damaged in the copy is an error, and the others are scored."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.data.checksums import digest
from aqa_jax.predict.inputs import Inputs, find_videos
from aqa_jax.predict.predict import predict
from tests.predict.test_predict import FORM, BrightnessScorer, read_rows
from tests.predict.untrained import configured


def run(inputs, output, **arguments):
    found = inputs if isinstance(inputs, Inputs) else find_videos(inputs)
    return predict(found, BrightnessScorer(), output, form=FORM, batch_size=2, progress=False, **arguments)


def record(folder, *names):
    (folder / "SHA256SUMS").write_text("".join(f"{digest(folder / name)}  {name}\n" for name in names))


def damage(path):
    """Flips a bit of a motion JPEG where it shows another valid picture; nobody could notice it from the file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xdb") + 5  # the step of brightness
    data[at] ^= 4
    path.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three videos, one in a folder below, recorded together by sha256sum where there is one."""
    folder = tmp_path_factory.mktemp("archive")
    names = ["a.avi", "b.avi", "visit/c.avi"]
    for level, name in zip((60, 100, 140), names, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        decode.write_video(folder / name, [np.full((32, 48, 3), level, np.uint8)] * 8)
    if shutil.which("sha256sum"):
        subprocess.run("sha256sum *.avi visit/* > SHA256SUMS", shell=True, cwd=folder, check=True)
    else:
        record(folder, *names)
    return folder


def test_a_video_that_was_damaged_in_the_copy(archive, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(archive, folder)
    decode.write_video(folder / "new.avi", [np.full((32, 48, 3), 180, np.uint8)] * 8)
    before = run(folder, tmp_path / "before")
    told = {Path(row["file"]).name: row["checksum"] for row in before.rows}
    assert told == {"a.avi": "verified", "b.avi": "verified", "c.avi": "verified", "new.avi": "none"}
    assert not before.errors and not find_videos(folder).ignored

    damage(folder / "b.avi")
    (unaware,) = run(Inputs((shutil.copy(folder / "b.avi", tmp_path / "b.avi"),)), tmp_path / "unaware").rows
    assert unaware["damage"] is None and unaware["checksum"] == "none"
    assert unaware["score"] != next(row["score"] for row in before.rows if row["file"].endswith("b.avi"))

    after = run(folder, tmp_path / "after")
    assert after.exit_code == 1
    (file, error), *others = after.errors.items()
    assert file == str(folder / "b.avi") and not others
    assert error.startswith(f"{file}: differs from the checksum recorded for it in {folder / 'SHA256SUMS'}: it was ")
    assert after.rows == [row for row in before.rows if row["file"] != file]
    content = json.loads((tmp_path / "after" / "scores.json").read_text())
    assert content["schema"] == "aqa_jax.scores/3"
    rows = {Path(row["file"]).name: row for row in read_rows(tmp_path / "after" / "scores.csv")}
    assert {name: row["checksum"] for name, row in rows.items()} == {**told, "b.avi": ""}
    assert rows["b.avi"]["error"] == error and rows["b.avi"]["score"] == ""


@pytest.mark.parametrize(
    ("given", "checksum"),
    [("", "verified"), ("visit", "none"), ("visit/c.avi", "none"), ("**/*.avi", "verified"), ("a.avi", "verified")],
)
def test_how_far_up_is_looked(archive, given, checksum, tmp_path):
    report = run(archive / given, tmp_path)
    assert report.rows and {row["checksum"] for row in report.rows} == {checksum}


def test_the_nearest_that_lists_a_file_is_asked(archive, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(archive, folder)
    record(folder / "visit")
    assert not run(folder, tmp_path / "empty").errors
    (folder / "visit" / "SHA256SUMS").write_text("0" * 64 + "  c.avi\n")
    (error,) = run(folder, tmp_path / "wrong").errors.values()
    assert str(folder / "visit" / "SHA256SUMS") in error


def test_nothing_is_scored_by_a_record_that_cannot_be_read(archive, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(archive, folder)
    (folder / "visit" / "SHA256SUMS").write_text("half a li")
    report = run(folder, tmp_path / "out")
    assert [Path(row["file"]).name for row in report.rows] == ["a.avi", "b.avi"]
    (error,) = report.errors.values()
    assert error.startswith(f"{folder / 'visit' / 'SHA256SUMS'}, line 1: not as sha256sum writes it")


class Run(BrightnessScorer):
    """As the scorer of a run, for the mode."""

    input_format, batch_size, needs_difficulty, known_difficulties = FORM, 2, False, None
    trained_on: ClassVar = {"score_range": (0.0, 255.0)}

    def describe(self):
        return {"intervals": "raw"}


def test_what_the_terminal_says(archive, tmp_path, monkeypatch, capsys):
    from aqa_jax.modes import predict as mode
    from aqa_jax.modes.request import Request

    monkeypatch.setattr("aqa_jax.predict.ensemble.make_scorer", lambda *_: Run())
    folder = tmp_path / "copy"
    shutil.copytree(archive, folder)

    def said(*inputs):
        code = mode.run(Request(configured(), tmp_path, inputs, tmp_path / "out"))
        return code, capsys.readouterr().out

    assert said(str(folder))[1].count("every scored file is what its SHA256SUMS records") == 1
    assert "nothing is recorded of the scored files" in said(str(folder / "visit"))[1]
    shutil.copy(folder / "a.avi", folder / "new.avi")
    damage(folder / "b.avi")
    code, out = said(str(folder))
    assert code == 1 and f"{folder / 'b.avi'}: differs from the checksum recorded for it" in out
    (line,) = (line for line in out.splitlines() if "(no recorded checksum)" in line)
    assert line.startswith(str(folder / "new.avi"))
    assert "2 of 3 scored files are what their SHA256SUMS records" in out


def test_who_goes_on_after_recording_is_told_anew(archive, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(archive, folder)
    (folder / "SHA256SUMS").unlink()
    from aqa_jax.predict import predict as module

    def full(*given, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "write_scores", full)
        run(folder, tmp_path / "out")
    record(folder, "a.avi")
    rows = run(folder, tmp_path / "out", resume=True).rows
    assert [row["checksum"] for row in rows] == ["verified", "none", "none"]
