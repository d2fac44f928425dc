"""The first files are read while the model is made: the results stay the same, and nothing stays behind."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import bundle
from aqa_jax.data import decode
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import CheckpointError, DataError
from aqa_jax.modes import predict as mode
from aqa_jax.modes.request import Request
from aqa_jax.predict import ahead as ahead_module
from aqa_jax.predict import input_format
from aqa_jax.predict.ahead import Ahead
from aqa_jax.predict.ensemble import make_scorer
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.inputs import Inputs, find_videos
from aqa_jax.predict.predict import predict
from tests.predict.untrained import configured

ROOT = Path(__file__).parents[2]
FORM = InputFormat(ClipWindow(window=8, clip_length=4, clip_starts=(0, 4), max_shift=2), (16, 24), (16, 16))
OTHER = InputFormat(FORM.window, (20, 24), (16, 16))


class MeanScorer:
    """The score is the video's mean grey level."""

    def prepare(self, batch_size):
        pass

    def score(self, video, difficulty, *, plain=False):
        mean = video.mean((1, 2, 3, 4, 5), dtype=np.float32)

        class Told:
            sigma = np.ones_like(mean)

            def interval(self, level):
                return mean - level, mean + level

        Told.mean = mean
        return Told()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        decode.write_video(tmp_path / "in" / f"v{i}.avi", [np.full((32, 48, 3), 30 * i + 20, np.uint8)] * 9)
    (tmp_path / "in" / "v1.avi").write_bytes(b"no video " * 99)
    return tmp_path / "in"


def scores(inputs, output, **arguments):
    report = predict(
        inputs, MeanScorer(), output, form=FORM, batch_size=2, progress=False, difficulty={f"v{i}.avi": 2.0 for i in
        (0, 1, 2, 4, 5)}, **arguments
    )  # fmt: skip
    return report.rows, report.errors


def test_rows_and_errors_are_those_of_a_call_without(folder, tmp_path):
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  v2.avi\n")
    inputs = find_videos(folder)
    plain = scores(inputs, tmp_path / "plain")
    with Ahead(inputs, FORM) as ahead:
        assert scores(inputs, tmp_path / "ahead", ahead=ahead) == plain
    rows, errors = plain
    assert [Path(row["file"]).name for row in rows] == ["v0.avi", "v4.avi", "v5.avi"]
    assert sorted(Path(file).name for file in errors) == ["v1.avi", "v2.avi", "v3.avi"]


def test_a_file_is_decoded_once_and_only_the_first_ones_ahead(folder, tmp_path, monkeypatch):
    read, threads = ahead_module.read_clips, {}

    def noted(path, *arguments, **options):
        threads.setdefault(path.name, []).append(threading.current_thread().name)
        return read(path, *arguments, **options)

    monkeypatch.setattr(ahead_module, "read_clips", noted)
    (folder / "v1.avi").unlink()
    inputs = find_videos(folder)
    with Ahead(inputs, FORM) as ahead:
        ahead._begun[inputs.videos[3]].exception()
        assert sorted(threads) == ["v0.avi", "v2.avi", "v3.avi", "v4.avi"]
        scores(inputs, tmp_path / "out", ahead=ahead)
    assert all(len(by) == 1 for by in threads.values())
    assert [threads[f"v{i}.avi"][0].partition("_")[0] for i in (0, 2, 4, 5)] == ["ahead", "ahead", "ahead", "decode"]


def test_what_was_read_for_another_model_or_not_begun_is_left(folder):
    videos = find_videos(folder).videos
    with Ahead(Inputs(videos[:1]), OTHER) as ahead:
        assert ahead.take(videos[0], FORM) is None
        assert ahead.take(videos[5], OTHER) is None
    with Ahead(Inputs(videos[:2]), FORM) as ahead:
        content = ahead.take(videos[0], FORM)
        assert content.clips.video.shape == (2, 4, 16, 16, 3) and content.facts.width == 48
        with pytest.raises(DataError, match=r"v1\.avi"):
            ahead.take(videos[1], FORM)


def test_nothing_runs_on_where_there_is_no_model(folder, tmp_path):
    from aqa_jax.predict import sandbox

    started = []

    class Watched(sandbox._Child):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "_Child", Watched)
        (tmp_path / "trained_on.json").write_text(
            json.dumps({"schema": "aqa_jax.trained_on/1", "frame_size": [40, 48], "score_range": None})
        )
        with pytest.raises(CheckpointError, match="has no checkpoint"):
            mode.run(Request(configured(), tmp_path, (str(folder),), tmp_path / "out"))
    assert not any(child.lives for child in started)


def test_what_is_expected_is_what_the_model_takes(untrained_workdir, tmp_path):
    config = configured()
    assert input_format.expected(config, untrained_workdir) == make_scorer(config, untrained_workdir).input_format
    file = tmp_path / "model.aqa"
    from aqa_jax.modes import export

    assert export.run(Request(config, untrained_workdir, output=file)) == 0
    of_bundle = make_scorer(config_of(file), file).input_format
    assert input_format.expected(config_of(file), file) == of_bundle
    # What is wrong is for the model to say.
    file.write_bytes(file.read_bytes()[:-9])
    assert input_format.expected(config, file) is None
    assert input_format.expected(config, tmp_path) is None
    (tmp_path / "fold_0" / "seed_0").mkdir(parents=True)
    assert input_format.expected(config, tmp_path) is None


def config_of(file):
    from aqa_jax import config as config_lib

    return config_lib.resolve(bundle.read_config(file))


def test_decoding_begins_before_jax_is_loaded(untrained_workdir, folder, tmp_path):
    code = (
        "import sys; from pathlib import Path; from aqa_jax import config; from aqa_jax.modes import predict, request; "
        "from aqa_jax.predict import ahead; enter = ahead.Ahead.__enter__; "
        "ahead.Ahead.__enter__ = lambda self: (print('jax' in sys.modules), enter(self))[1]; "
        f"c = config.resolve(config.read_json(Path({str(untrained_workdir)!r}) / 'config.json')); "
        f"predict.run(request.Request(c, Path({str(untrained_workdir)!r}), ({str(folder / 'v0.avi')!r},), "
        f"Path({str(tmp_path / 'out')!r})))"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[0] == "False"
    assert len(json.loads((tmp_path / "out" / "scores.json").read_text())["videos"]) == 1
