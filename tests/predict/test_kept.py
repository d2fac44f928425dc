"""What is kept to score with scores as the model does, to the bit, and is found for that model alone."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from aqa_jax import compilation, modes
from aqa_jax.bundle.writer import export_run
from aqa_jax.config_keys import HEAD_NAMES
from aqa_jax.data import decode
from aqa_jax.evaluate import familiarity, recalibration
from aqa_jax.evaluate.selection import Selection
from aqa_jax.modes import predict as mode
from aqa_jax.predict import kept
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trained import Trained
from aqa_jax.predict.trust import Trust
from aqa_jax.train.run import Run
from tests.predict import untrained
from tests.predict.untrained import configured

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where this test's scorers are kept; compiled programs stay where they are."""
    monkeypatch.setattr(compilation, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / kept.FOLDER


@pytest.fixture
def workdir(untrained_workdir, tmp_path):
    return Path(shutil.copytree(untrained_workdir, tmp_path / "run"))


@pytest.fixture
def video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (14, 48, 64, 3), np.uint8)
    decode.write_video(tmp_path / "a.avi", frames)
    return tmp_path / "a.avi"


@pytest.fixture
def makes(monkeypatch):
    """How often the model was made."""
    made, real = [], mode._made
    monkeypatch.setattr(mode, "_made", lambda request: made.append(1) or real(request))
    return made


def request(workdir, video, **changes):
    return modes.Request(configured(**changes), workdir, (str(video),), workdir.parent / "out")


def scores(request):
    assert modes.run("predict", request) == 0
    content = json.loads((request.output / "scores.json").read_text())
    content.pop("made", None)
    return content


@pytest.mark.parametrize("bundled", [False, True])
def test_the_second_call_does_without_the_model_and_writes_the_same(workdir, video, makes, folder, tmp_path, bundled):
    if bundled:
        export_run(configured(), workdir, tmp_path / "it.aqa")
        workdir = tmp_path / "it.aqa"
    first = scores(request(workdir, video))
    (file,) = folder.iterdir()
    assert (os.stat(folder).st_mode & 0o777) == 0o700
    os.utime(file, (1, 1))
    assert scores(request(workdir, video)) == first
    assert len(makes) == 1 and file.stat().st_mtime > 1
    # Nor for another video, another output, or other words of what is made beside.
    assert scores(request(workdir, video, **{"predict.decode_seconds": 60.0, "report.names": True})) == first
    assert len(makes) == 1


def learnt(scorer, video):
    """Of an evaluation: what a trained run has beside its weights."""
    rng = np.random.default_rng(0)
    parts = [part.repeat(20, 0) for part in scorer.distribution(*video)[1]]
    parts = [part + rng.normal(0, 0.1, part.shape).astype(np.float32) for part in parts]
    return Trust(
        recalibration.Recalibration(40, 1.5, 4.0, (0.5, 1.0, 2.0, 3.0), ("conformal",) * 4), "",
        familiarity.learn(parts, neighbours=3, level=0.9),
    )  # fmt: skip


@pytest.mark.parametrize("head", HEAD_NAMES)
def test_every_head_is_kept_whole(head, tmp_path):
    changes = {"head.name": head, "head.pool": 6, "head.exemplars": 5, "head.hidden": (16, 8)}
    config = configured(**changes, **{"head.exemplars_by": "difficulty"})
    run = Run(config)
    rng = np.random.default_rng(0)
    state = {"step": np.int32(0), **jax.tree.map(np.array, run.assembler.init())}
    if bank := state["constants"].get("head", {}).get("exemplars"):
        bank["row"][:] = np.arange(len(bank["row"]))
        bank["key"][:] = [1.5, 2.5, 3.5] * (len(bank["key"]) // 3)
        bank["features"][:] = rng.normal(size=bank["features"].shape)
        bank["score"][:] = rng.uniform(5, 10, bank["score"].shape)
    about = {"builder": "b", "fingerprint": "f", "videos": {"train": 3}, "frame_size": [40, 48], "score_range": [1, 9]}
    video = rng.integers(0, 256, (2, 3, 8, 32, 32, 3), np.uint8), np.array([2.5, 1.5], np.float32)
    trained = Trained("c", about, Selection("last", 0, None, None, None), state, Trust(None, "why"))
    scorer = RunScorer(config, trained, run)
    # Raw once, which is enough, and as after an evaluation.
    for trust in ([trained.trust] if head == "dae" else []) + [learnt(scorer, video)]:
        scorer.trust = trust
        path = kept.path_of(config, tmp_path)
        assert kept.keep(scorer, path, 2)
        found = kept.find(config, path)
        found.prepare(2)
        told, wanted = found.score(*video), scorer.score(*video)
        for ours, theirs in zip(jax.tree.leaves(told.raw), jax.tree.leaves(wanted.raw), strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)
        for name in ("point", "mean", "sigma", "distance", "unfamiliar", "raw_intervals"):
            np.testing.assert_array_equal(getattr(told, name), getattr(wanted, name))
        for level in (0.5, 0.9, 0.6):
            np.testing.assert_array_equal(told.interval(level), wanted.interval(level))
        assert found.describe() == json.loads(json.dumps(scorer.describe()))
        for name in ("needs_difficulty", "known_difficulties", "input_format", "batch_size"):
            assert getattr(found, name) == getattr(scorer, name)
        assert found.trained_on["score_range"] == [1, 9]
        assert np.ptp(np.asarray(told.mean)) > 0


def replace(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda workdir: replace(workdir / "trained_on.json"),
        lambda workdir: replace(next(path for path in (workdir / "checkpoints").rglob("*") if path.is_file())),
        lambda workdir: (workdir / "evaluation").mkdir() or (workdir / "evaluation" / "recalibration.json").touch(),
        lambda workdir: {"evaluate.point": "mode"},
        lambda workdir: {"predict.clips": 2},
        lambda workdir: {"predict.batch_size": 2},
        lambda workdir: {"predict.dtype": "bfloat16"},
        lambda workdir: {"data.crop": 24},
    ],
)
def test_another_model_is_looked_for_elsewhere(workdir, change):
    before = kept.path_of(configured(), workdir)
    assert kept.path_of(configured(), workdir) == before
    assert kept.path_of(configured(**(change(workdir) or {})), workdir) != before


def test_so_is_the_same_on_other_devices_by_other_versions_and_in_another_folder(workdir, tmp_path, monkeypatch):
    paths = {kept.path_of(configured(), workdir), kept.path_of(configured(), workdir / ".." / "other")}
    with monkeypatch.context() as patch:
        patch.setattr(kept, "versions", lambda: {"jax": "0.0"})
        paths.add(kept.path_of(configured(), workdir))
    with monkeypatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices() * 2)
        paths.add(kept.path_of(configured(), workdir))
    with jax.default_matmul_precision("highest"):
        paths.add(kept.path_of(configured(), workdir))
    library = Path(shutil.copytree(ROOT / "aqa_jax" / "predict", tmp_path / "library"))
    monkeypatch.setattr("aqa_jax.__file__", str(library / "__init__.py"))
    paths.add(kept.path_of(configured(), workdir))
    replace(library / "scorer.py")
    paths.add(kept.path_of(configured(), workdir))
    assert len(paths) == 7


@pytest.mark.parametrize("at", [100, -5000, -1])
def test_what_is_damaged_is_made_anew(workdir, video, makes, folder, capsys, at):
    first = scores(request(workdir, video))
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert scores(request(workdir, video)) == first and len(makes) == 2
    assert f"{file} cannot be used: what it held is made anew." in capsys.readouterr().err
    assert scores(request(workdir, video)) == first and len(makes) == 2
    assert [file] == list(folder.iterdir())


def test_pictures_and_checks_take_the_model_itself(workdir, video, makes, folder):
    scores(request(workdir, video))
    for changes in ({"predict.extras": "distribution"}, {"predict.check": True}):
        scores(request(workdir, video, **changes))
    assert len(makes) == 3 and len(list(folder.iterdir())) == 1


def test_nothing_is_kept_where_it_is_off_or_nothing_was_scored(workdir, video, folder, tmp_path, monkeypatch):
    scores(request(workdir, video, **{"predict.keep": False}))
    video.write_bytes(b"no video " * 99)
    assert modes.run("predict", request(workdir, video)) == 1
    monkeypatch.setattr(compilation, "cache_folder", lambda: None)
    assert kept.path_of(configured(), workdir) is None
    assert not folder.exists()


def test_a_checkpoint_that_goes_meanwhile_is_no_error(workdir):
    (workdir / "checkpoints" / "gone").symlink_to(workdir / "nowhere")
    assert kept.path_of(configured(), workdir) is None
    (workdir / "checkpoints" / "gone").unlink()
    assert kept.path_of(configured(), workdir) is not None


def test_a_folder_for_reading_alone_will_do(workdir, video, makes, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "refused")

    first = scores(request(workdir, video))
    monkeypatch.setattr(kept.os, "utime", refused)
    assert scores(request(workdir, video)) == first and len(makes) == 1


def test_no_folder_costs_no_score(workdir, video, folder, capsys):
    folder.parent.write_text("a file")
    scores(request(workdir, video))
    assert "What scores is not kept for the next call: " in capsys.readouterr().err


def test_neither_somebodys_head_nor_a_cross_validation_is_kept(workdir, tmp_path):
    scorer = RunScorer(configured(), workdir)
    scorer.config = dataclasses.replace(scorer.config, head=dataclasses.replace(scorer.config.head, name="mine:make"))
    assert not kept.keep(scorer, tmp_path / "a", 1)
    assert not kept.keep(object(), tmp_path / "a", 1)
    assert not (tmp_path / "a").exists()


def test_the_last_used_stay(workdir, folder):
    scorer = RunScorer(configured(), workdir)
    for i in range(kept.MOST):
        assert kept.keep(scorer, folder / f"{i}.scorer", 1)
        os.utime(folder / f"{i}.scorer", (i + 1, i + 1))
    assert kept.find(scorer.config, folder / "0.scorer") is not None
    assert kept.keep(scorer, folder / "new.scorer", 1)
    assert sorted(path.stem for path in folder.iterdir()) == ["0", "2", "3", "new"]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_second_process_loads_jax_alone(video, tmp_path, devices):
    untrained.make(tmp_path / "run")
    code = (
        "import sys; sys.argv[0] = 'run.py'; import run; run.flags.FLAGS(sys.argv, known_only=True)\n"
        "try: run.main(sys.argv[:1])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print('flax' in sys.modules, 'orbax' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "--mode=predict", f"--workdir={tmp_path / 'run'}", f"--input={video}"]
    command += [f"--config={ROOT / 'configs' / 'from_workdir.py'}:{tmp_path / 'run'}"]
    set_up = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs"), "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    told = []
    for name in ("one", "two"):
        output = tmp_path / name
        ended = subprocess.run(
            [*command, f"--output={output}"], cwd=ROOT, env=set_up, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stderr
        told.append((ended.stdout.splitlines()[-1], (output / "scores.json").read_text()))
        programs = {path.name for path in (tmp_path / "programs").glob("*-cache")}
        if name == "one":
            compiled = programs
    assert [words for words, _ in told] == ["True True", "False False"]
    assert told[0][1] == told[1][1]
    # All that it ran had been compiled by the first.
    assert programs == compiled
