"""The report of a video holds its figures, its pictures and its reasons, and nothing that it should not."""

import dataclasses

import numpy as np
import pytest

from aqa_jax.explain.explanation import Explanation
from aqa_jax.predict.video_clips import VideoClips
from aqa_jax.report import charts
from aqa_jax.report.video import report_parts, write_video_report
from tests.report.parsed import check_report

EVIL = "x\"><script>alert('1')<img src=x onerror=y>&.mp4"
ROW = {
    "file": f"/home/somebody/{EVIL}", "score": np.float32(61.34), "mean": 61.34, "sigma": 6.04, "low50": 57.1,
    "high50": 65.3, "low90": 50.2, "high90": 72.9, "difficulty": 3.2, "frames": 40, "tempo": 1.0, "resampled": False,
    "damage": None, "out_of_training_range": False, "distance": 1.2, "unfamiliar": False, "sha256": "ab" * 32,
    "checksum": "none",
}  # fmt: skip
MODEL = {"head": "dae_mt", "intervals": "conformal, learnt on 200 validation videos", "selection": {"step": 7}}
SCORES = list(np.linspace(20, 90, 50))


@pytest.fixture(scope="module")
def clips():
    return VideoClips(np.random.default_rng(0).integers(0, 256, (3, 4, 24, 24, 3), np.uint8), 40, 1.0)


@pytest.fixture(scope="module")
def why():
    return Explanation(
        score=61.34, baseline=55.0, segment_scores=np.array([70.0, 44.4, 66.0]),
        contributions=np.array([5.0, -3.75, 5.0]), occlusion=np.array([2.0, -8.5, 1.0]),
        cam=np.random.default_rng(1).random((3, 4, 24, 24), np.float32), frames=np.arange(12).reshape(3, 4) + 10,
    )  # fmt: skip


def text_of(clips, why=None, *, scores=SCORES, model=MODEL, shows=None, **changes):
    _, text = report_parts(
        row=ROW | changes, model=model, clips=clips, explanation=why, training_scores=scores, **(shows or {})
    )
    return text


@pytest.fixture(scope="module")
def plain(clips):
    return check_report(text_of(clips, scores=None))


def test_a_whole_report(clips, why):
    text = text_of(clips, why)
    page = check_report(text)
    for words in (
        "61.3 points", "50.2 to 72.9", "57.1 to 65.3", "Segment 2 pulls the score down the most", "frames 14–17",
        "−8.50", "44.4", "selection.step", "scores of the 50 training videos", "conformal, learnt on 200",
        "none: no SHA256SUMS was found that lists the file",
    ):  # fmt: skip
        assert words in page.text, words
    # Four charts; of each segment the clip and the map, moving, each with a still for those who want none.
    sources = [attrs["src"] for attrs in page.all("img")]
    assert sum(source.startswith("data:image/svg+xml") for source in sources) == 4
    assert len({source for source in sources if source.startswith("data:image/webp")}) == 6
    assert len(page.all("source")) == 6
    assert all("prefers-reduced-motion" in attrs["media"] for attrs in page.all("source"))
    # Nothing of the folder that the file lay in; nothing of the name runs.
    assert "somebody" not in text and "<script" not in text
    assert EVIL in page.text and EVIL in page.texts["title"]
    assert text == text_of(clips, why)


def test_without_reasons_and_without_training_scores(plain):
    assert "Why" not in plain.text and "training videos" not in plain.text
    images = [attrs["src"] for attrs in plain.all("img")]
    assert len(images) == 4, "the score's chart, and three segments"


def test_pictures_and_names_can_be_left_out(clips, why):
    text = text_of(clips, why, shows={"thumbnails": False, "names": False})
    page = check_report(text)
    assert "image/webp" not in text and "alert" not in text
    assert "A video" in page.text and "61.3" in page.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unfamiliar": True}, "do not trust the score"),
        ({"out_of_training_range": True}, "Outside the training scores"),
        ({"resampled": True, "tempo": 2.5}, "2.50 times as fast"),
        ({"damage": "12 of <50> frames"}, "12 of <50> frames"),
    ],
)
def test_what_makes_a_score_doubtful_stands_above_it(clips, plain, changes, words):
    assert words not in plain.text
    text = check_report(text_of(clips, **changes)).text
    assert 0 < text.index(words) < text.index("61.3 points")


def test_raw_intervals_are_called_a_guess(clips):
    page = check_report(text_of(clips, model={"intervals": "raw: no validation split"}))
    assert "raw: no validation split. Take it for a guess" in page.text and "9 in 10" not in page.text


@pytest.mark.parametrize("least", [1.0, -0.01])
def test_a_fault_is_named_only_where_there_is_one(clips, why, least):
    none = dataclasses.replace(why, occlusion=np.array([least, 2.0, 3.0]), cam=None)
    page = check_report(text_of(clips, none))
    assert "pulls the score down the most" not in page.text and "for a fault" not in page.text
    assert "Grad-CAM" not in page.text


def test_bars_that_are_small_beside_sigma_look_small(clips, why, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "chart", lambda figure: drawn.append(figure.axes[0].get_ylim()) or "data:,x")
    text_of(clips, dataclasses.replace(why, contributions=why.contributions * 0.01))
    (_, contributions, occlusion) = drawn[1:]
    assert contributions == pytest.approx((-0.604, 0.604)), "a tenth of sigma"
    assert occlusion[0] < -8.5


def test_the_file_is_written_whole(tmp_path, clips):
    path = tmp_path / "deep" / "report.html"
    write_video_report(path, row=ROW, model=MODEL, clips=clips, training_scores=SCORES)
    check_report(path.read_text(encoding="utf-8"))
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]
