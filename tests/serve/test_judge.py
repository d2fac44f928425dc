"""A real file, decoded in a process of its own, becomes a row and a report."""

import json

import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.errors import DataError
from aqa_jax.serve import judge as judge_module
from aqa_jax.serve.judge import VideoJudge
from tests.report.parsed import check_report
from tests.serve.fakes import FakeScorer, fake_explain


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(judge_module, "explain", fake_explain)
    return lambda **shows: VideoJudge(FakeScorer(), decode_seconds=60, decode_mb=768, **shows)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "in" / "video.avi"
    path.parent.mkdir()
    decode.write_video(path, np.full((9, 48, 64, 3), 90, np.uint8), fps=10)
    return path


def test_a_video_s_answer(make, video, tmp_path):
    judge = make(keep_in=tmp_path / "kept")
    judge.warm_up()
    found = judge(video, "my dive.avi", 2.0)
    row = found["video"]
    assert row["file"] == "my dive.avi" and row["score"] == pytest.approx(180, abs=8) and row["frames"] == 9
    assert row["low90"] == pytest.approx(row["score"] - 8) and row["unfamiliar"] is False
    page = check_report(found["report"])
    assert f"{row['score']:.1f} points" in page.text and "my dive.avi" in page.text
    assert found["main"] in found["report"] and found["main"].startswith("<main>")
    assert str(tmp_path) not in found["report"]
    # Kept, because that was asked for.
    (folder,) = (tmp_path / "kept").iterdir()
    assert {path.name for path in folder.iterdir()} == {"video.avi", "report.html", "scores.json"}
    assert (folder / "video.avi").read_bytes() == video.read_bytes()
    content = json.loads((folder / "scores.json").read_text())
    assert content["videos"][0]["file"] == str(folder / "video.avi")
    assert (folder / "report.html").read_text() == found["report"]


def test_what_is_no_video_or_has_no_exemplar(make, tmp_path):
    judge, path = make(), tmp_path / "video.mp4"
    path.write_bytes(b"not a video" * 99)
    with pytest.raises(DataError, match=r"video\.mp4"):
        judge(path, "x.mp4", 2.0)
    judge.scorer.known_difficulties = (1.5, 3.0)
    with pytest.raises(DataError, match=r"no exemplar of difficulty 2.*1.5, 3"):
        judge(path, "x.mp4", 2.0)
