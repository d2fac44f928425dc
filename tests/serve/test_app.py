"""Who is answered and who is not; what is too large, too slow, too many or no video; that nothing stays."""

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import stopping
from aqa_jax.errors import DecodeError, RunError, StorageError
from tests.report.parsed import check


class Judge:
    """Notes what it was given."""

    def __init__(self):
        self.calls, self.release, self.fault = [], threading.Event(), None
        self.release.set()

    def __call__(self, path, name, difficulty):
        self.calls.append((path, path.read_bytes(), name, difficulty))
        if b"bad" in self.calls[-1][1]:
            raise DecodeError(f"{path}: not a video")
        assert self.release.wait(20)
        if self.fault:
            raise self.fault
        return {"score": np.float32(1.5), "flag": np.bool_(True)}


@pytest.fixture
def judge():
    return Judge()


def test_the_page_is_self_contained_and_policed(serve, asking, judge):
    with serve(judge, needs_difficulty=True) as port:
        found = asking(port)
        page = check(found.text, own=("page.css", "page.js"))
        assert found.status == 200 and "a <model>" in page.text and "Difficulty" in page.text
        assert found.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
        for name, expected in (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")):
            assert found.headers[name] == expected
        assert not [name for name in found.headers if name.lower() in ("server", "access-control-allow-origin")]
        for path, kind in (("/page.css", "text/css"), ("/page.js", "text/javascript")):
            own = asking(port, path=path)
            assert own.headers.get_content_type() == kind and "http" not in own.text.replace("http-equiv", "")
        assert asking(port, path="/nothing").status == 404


def test_a_video_is_scored_and_nothing_stays(serve, asking, judge, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serve(judge) as port:
        found = asking(port, "POST", "/score?name=C:%5Cmy%20films%5C..%2Fa%20b.MOV&difficulty=3", b"0123")
        assert found.status == 200 and found.json == {"score": 1.5, "flag": True}
        ((path, content, name, difficulty),) = judge.calls
        assert (content, name, difficulty) == (b"0123", "a b.MOV", None)
        assert path.name == "video.MOV" and tmp_path in path.parents
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "name", "file"),
    [
        ("x.m%00p4", "x.mp4", "video.mp4"),
        ("..", "video", "video"),
        ("a.%2e%2e%2fsh", "sh", "video"),
        ("a.%24%28id%29", "a.$(id)", "video"),
        ("", "video", "video"),
    ],
)
def test_a_stranger_s_name_is_no_path(serve, asking, judge, given, name, file):
    with serve(judge) as port:
        asking(port, "POST", f"/score?name={given}", b"0")
    assert (judge.calls[0][2], judge.calls[0][0].name) == (name, file)


@pytest.mark.parametrize("page", [False, True])
def test_what_cannot_be_scored_is_said_in_words(serve, asking, judge, page):
    def post(body, query=""):
        found = asking(port, "POST", f"/score?name=v.mp4{query}{'&page=1' if page else ''}", body)
        assert set(found.json) == {"error"}
        return found.status, found.json["error"]

    with serve(judge, needs_difficulty=True) as port:
        # A page's own console stays quiet.
        expect = (lambda status: 200) if page else (lambda status: status)
        assert post(b"bad", "&difficulty=3") == (expect(422), "v.mp4: not a video")
        assert post(b"", "&difficulty=3") == (expect(400), "The file is empty.")
        for wrong in ("", "&difficulty=", "&difficulty=nan", "&difficulty=-1", "&difficulty=inf", "&difficulty=x"):
            status, words = post(b"0", wrong)
            assert status == expect(400) and "difficulty of the action" in words
        status, words = post(b"0" * 1_000_001, "&difficulty=3")
        assert status == expect(413) and "larger than 1 MB" in words
        assert len(judge.calls) == 1


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ({}, " required>"),
        ({"difficulty": 2.5}, 'value="2.5"'),
        ({"difficulties": (1.5, 2.0), "difficulty": 2.0}, "<option>1.5</option><option selected>2</option>"),
    ],
)
def test_no_difficulty_is_made_up(serve, asking, judge, known, shown):
    with serve(judge, needs_difficulty=True, **known) as port:
        assert shown in asking(port).text


def test_a_body_without_a_length_is_counted(serve, asking, judge):
    with serve(judge) as port:
        found = asking(port, "POST", "/score", (b"0" * 65536 for _ in range(16)))
        assert found.status == 413 and not judge.calls
        assert asking(port, "POST", "/score", (b"0" * 65536 for _ in range(15))).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_other_names_and_other_sites_are_refused(serve, asking, judge, headers, status):
    with serve(judge) as port:
        given = {name: text.format(port=port) for name, text in headers.items()}
        found = asking(port, "POST", "/score", b"0", **given)
        assert found.status == status and bool(judge.calls) == (status == 200)
        assert "Content-Security-Policy" in found.headers
        assert asking(port, **given).status == status


def test_one_at_a_time_and_none_for_ever(serve, asking, judge, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    judge.release.clear()
    with serve(judge, seconds=2.0) as port:
        late = asking(port, "POST", "/score", b"0")
        assert late.status == 504 and "longer than 2 seconds" in late.json["error"]
        # Its thread goes on: the model is not free, and its file is not gone.
        busy = asking(port, "POST", "/score", b"0")
        assert busy.status == 503 and "Another video is being scored" in busy.json["error"]
        assert len(judge.calls) == 1 and len(list(tmp_path.iterdir())) == 1
        # SIGTERM would remove it now.
        (remove,) = stopping._half_done.values()
        remove()
        assert not list(tmp_path.iterdir())
        judge.release.set()
        for _ in range(200):
            if (free := asking(port, "POST", "/score", b"0")).status == 200:
                break
        assert free.status == 200
        assert not list(tmp_path.iterdir()) and not stopping._half_done


def test_an_error_of_ours_is_no_open_door(serve, asking, tmp_path, monkeypatch, capfd):
    """What was not foreseen answers 500 without a trace of this machine, and the page goes on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def judge(path: Path, name, difficulty):
        if path.read_bytes() == b"1":
            raise ZeroDivisionError(f"secret {path}")
        return {}

    with serve(judge) as port:
        found = asking(port, "POST", "/score", b"1")
        assert found.status == 500 and found.json["error"].startswith("The program failed on this video")
        assert "secret" not in found.text and "secret" in capfd.readouterr().err
        assert asking(port, "POST", "/score", b"0").status == 200
        assert not list(tmp_path.iterdir())


def test_a_full_disk_and_a_program_that_cannot_decode_are_told_from_a_bad_video(
    serve, asking, judge, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with serve(judge) as port:
        found = asking(port, "POST", "/score", b"0")
        assert found.status == 507 and "Is the disk full?" in found.json["error"]
        assert "gone" not in found.text and "No such file" in capfd.readouterr().err
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(judge, "fault", RunError("no process starts"))
        found = asking(port, "POST", "/score", b"0")
        assert found.status == 500 and found.json["error"].startswith("The program failed")
        assert "no process starts" in capfd.readouterr().err
        monkeypatch.setattr(judge, "fault", StorageError(f"{tmp_path} is full"))
        assert asking(port, "POST", "/score", b"0").status == 507
        monkeypatch.setattr(judge, "fault", None)
        assert asking(port, "POST", "/score", b"0").status == 200
        assert not list(tmp_path.iterdir())
