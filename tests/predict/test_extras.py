import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aqa_jax.config_keys import ReportConfig
from aqa_jax.data import decode
from aqa_jax.errors import ConfigError, DecodeError
from aqa_jax.explain.explanation import Explanation
from aqa_jax.predict import annotate, extras, pictures, playable
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.video_clips import VideoClips
from tests.predict.test_predict import FORM, BrightnessScorer, run

PORTRAIT = Path(__file__).parents[1] / "data" / "videos" / "rotated_90.mov"
"""Three frames, stored lying and shown standing: 320 x 568."""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()), (" report,video ", ("video", "report")), ("all", extras.NAMES), ("why,all", extras.NAMES),
    ],
)  # fmt: skip
def test_names(text, names):
    assert extras.parse(text) == names


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="gif is none of video, distribution"):
        extras.parse("video,gif")


def test_folders_are_unique_and_stay_inside():
    videos = [Path(name) for name in ("a/dive.mp4", "b/Dive.mov", "c/dive.avi", "...mp4", "..mp4")]
    assert list(extras.folders(videos).values()) == ["dive", "Dive_2", "dive_3", "video", "video_2"]


@pytest.fixture
def explained(monkeypatch):
    """Explanations without a network: the second of two segments is the worst."""

    def explain(scorer, clips, difficulty, *, cam):
        frames = np.minimum(FORM.window.frames(0), clips.num_frames - 1)
        map_ = np.ones((2, 4, 2, 2), np.float32) if cam else None
        scores, effects = np.array([70.0, 55.0]), np.array([6.0, -9.0])
        return Explanation(62.5, 60.0, scores, np.array([4.0, -1.5]), effects, map_, frames)

    monkeypatch.setattr("aqa_jax.explain.explain.explain", explain)


def scored(video, output, names, **describes):
    class Scorer(BrightnessScorer):
        trained_on = {"scores": np.random.default_rng(0).normal(90, 20, 300).tolist()}  # noqa: RUF012

        def describe(self):
            return describes

    found, scorer = find_videos(video), Scorer()
    made = extras.VideoExtras(extras.parse(names), output, found.videos, scorer, ReportConfig())
    return run(video, output, scorer, extras=made), made


def test_all_of_them_for_an_upright_portrait(explained, tmp_path):
    report, made = scored(PORTRAIT, tmp_path / "out", "all", head="dae")
    (row,) = report.rows
    assert "extras_error" not in row
    assert (row["width"], row["height"], row["frames"], row["fps"]) == (320, 568, 3, 30.0)
    folder = tmp_path / "out" / "videos" / "rotated_90"
    assert {name: [Path(file).name for file in files] for name, files in row["extras"].items()} == {
        "video": ["annotated.mp4"], "distribution": ["distribution.png"], "keyframes": ["best.jpg", "worst.jpg"],
        "why": ["why.json", "why.mp4"], "report": ["report.html"],
    }  # fmt: skip
    assert all((tmp_path / "out" / file).is_file() for files in row["extras"].values() for file in files)
    assert json.loads((folder / "why.json").read_text())["worst_segment"] == 1
    assert "rotated_90.mov" in (folder / "report.html").read_text()
    # The player shows what a viewer of the file sees: upright, with the panel below.
    original, drawn = (list(decode.iterate_frames(path)) for path in (PORTRAIT, folder / "annotated.mp4"))
    assert len(original) == len(drawn) == 3
    rows, columns = annotate.fitted(568, 320, (640, 480))
    assert (rows, columns) == (640, 360) and drawn[0].shape[1] == 480
    for one, other in zip(original, drawn, strict=True):
        middle = other[:rows, 60:420].astype(float)
        assert np.abs(middle - decode.resize(one, (rows, columns))).mean() < 6
    # In the panel a dark line goes from left to right.
    half, end = (60 + frame[rows + 100 : rows + 140, 60:].min(2).mean(0).argmin() for frame in drawn[1:])
    assert 240 < half < 280 and end > 450
    assert bool(made.note) == ("MPEG-4" in made.note)


def test_pictures_alone_explain_nothing_and_nothing_of_another_call_stays(tmp_path):
    folder = tmp_path / "out" / "videos" / "rotated_90"
    folder.mkdir(parents=True)
    for name in ("report.html", "notes.txt"):
        (folder / name).write_text("an earlier call's, perhaps of somebody else")
    # No explanation is stubbed here: this scorer has no segments that could be explained.
    report, made = scored(PORTRAIT, tmp_path / "out", "distribution")
    assert report.exit_code == 0 and not made.note
    assert decode.read_image(folder / "distribution.png").shape[1] > 600
    assert sorted(path.name for path in folder.iterdir()) == ["distribution.png", "notes.txt"]


def test_nothing_of_an_earlier_call_stands_beside_an_error(tmp_path):
    videos = [tmp_path / "a" / "dive.mp4", tmp_path / "b" / "dive.mp4", tmp_path / "c.mp4"]
    for name in ("dive", "dive_2"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for file in ("report.html", "why.mp4", "notes.txt"):
            (tmp_path / "videos" / name / file).touch()
    extras.remove_earlier(tmp_path, videos, [str(videos[1]), str(videos[2])])
    left = {path.relative_to(tmp_path / "videos").as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {"dive/report.html", "dive/why.mp4", "dive/notes.txt", "dive_2/notes.txt"}


def test_a_process_that_is_ended_while_it_writes_leaves_no_half_video(explained, tmp_path):
    class Ended:
        def call(self, function, path, target, *arguments):
            playable.unfinished(target).write_bytes(b"half")
            raise DecodeError("decoding takes longer than 1 seconds")

    made = extras.VideoExtras(("video",), tmp_path, [PORTRAIT], None, ReportConfig())
    clips = VideoClips(np.zeros((2, 4, 16, 16, 3), np.uint8), 100, 1.0)
    with pytest.raises(DecodeError, match="takes longer"):
        made.make(PORTRAIT, clips, row_like(width=64, height=48, difficulty=None), Ended())
    assert not list((tmp_path / "videos" / "rotated_90").iterdir())


def row_like(**changes):
    row = {
        "score": 72.4, "mean": 72.0, "sigma": 5.1, "low50": 69.0, "high50": 75.5, "low90": 63.1, "high90": 81.2,
        "fps": 25.0, "frames": 100, "unfamiliar": None, "out_of_training_range": False, "damage": None,
    }  # fmt: skip
    return row | changes


def test_what_must_be_known_is_written_beside_the_score():
    assert pictures.warnings_of(row_like()) == ""
    told = pictures.warnings_of(row_like(unfamiliar=True, out_of_training_range=True, damage="3 frames"))
    assert told == "unlike the training videos: do not trust it; outside the training scores; the file is damaged"


@pytest.mark.parametrize("row", [row_like(), row_like(unfamiliar=True, fps=None, score=-112.25, low50=-120.0)])
def test_a_panel_says_where_its_time_runs(row):
    frames = np.arange(80).reshape(5, 16)
    panel = pictures.panel(row, np.array([70.0, 75, 60, 71, 73]), frames, 1, 2, 480)
    height, width, _ = panel.image.shape
    assert panel.image.dtype == np.uint8 and width == 480 and height % 2 == 0
    assert 40 < panel.first < panel.last < width and 0 < panel.top < panel.bottom < height
    # Where the axes' box is: its left spine is dark.
    assert panel.image[panel.top + 5 : panel.bottom - 5, round(panel.first) - 1 : round(panel.first) + 2].min() < 60


def test_one_segment_alone_and_no_training_scores(tmp_path):
    segment = np.array([70.0]), np.arange(16)[None]
    plain = pictures.panel(row_like(), *segment, None, None, 640)
    assert plain.image.shape[1] == 640
    assert (pictures.panel(row_like(), *segment, 0, None, 640).image != plain.image).any()
    pictures.distribution(tmp_path / "a.png", row_like(), None)
    assert decode.read_image(tmp_path / "a.png").std() > 10


@pytest.mark.parametrize(("most", "rate"), [(10, 30.0), (1000, 90.0)])
def test_a_long_or_fast_video_is_thinned_in_its_own_time(tmp_path, monkeypatch, most, rate):
    monkeypatch.setattr(annotate, "MAX_FRAMES", most)
    decode.write_video(tmp_path / "long.avi", [np.full((32, 48, 3), 8 * i, np.uint8) for i in range(25)], fps=rate)
    panel = np.full((20, 96, 3), 255, np.uint8)
    annotate.annotate(tmp_path / "long.avi", tmp_path / "a.mp4", panel, (10.0, 90.0, 2, 18), 25, (64, 96), rate)
    capture = decode.cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(decode.cv2.CAP_PROP_FPS) == pytest.approx(rate / 3)
    shown = [frame[:64].mean() for frame in decode.iterate_frames(tmp_path / "a.mp4")]
    np.testing.assert_allclose(shown, [8 * i for i in range(0, 25, 3)], atol=8)


def test_stills_are_the_frames_that_were_asked_for(tmp_path):
    decode.write_video(tmp_path / "a.avi", [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(10)])
    stills = annotate.stills(tmp_path / "a.avi", np.array([7, 2, 7]), (60, 60))
    assert stills.shape == (3, 40, 60, 3)
    np.testing.assert_allclose(stills.mean((1, 2, 3)), [140, 40, 140], atol=5)


def test_a_video_that_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch):
    frames = [np.zeros((32, 32, 3), np.uint8)] * 3
    assert playable.write_playable(tmp_path / "a.mp4", iter(frames), 25) in (playable.H264, playable.MPEG4)
    with pytest.raises(DecodeError, match="no frames"):
        playable.write_playable(tmp_path / "b.mp4", [], 25)
    with pytest.raises(DecodeError, match="even sides"):
        playable.write_playable(tmp_path / "b.mp4", [np.zeros((31, 32, 3), np.uint8)], 25)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    monkeypatch.setattr(playable.cv2, "VideoCapture", lambda *_: SimpleNamespace(isOpened=bool, release=bool))
    with pytest.raises(DecodeError, match="could not be written whole"):
        playable.write_playable(tmp_path / "b.mp4", frames, 25)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
