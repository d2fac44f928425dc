"""A restored model on files: what is compiled, what is computed, and what folding and bfloat16 change."""

import json

import jax
import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.data import decode
from aqa_jax.predict import program as program_module
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict
from aqa_jax.predict.scorer import RunScorer, inference_dtype
from tests.predict.untrained import configured


@pytest.fixture
def workdir(untrained_workdir):
    return untrained_workdir


@pytest.fixture
def compiled():
    """Names of the programs that are compiled, or read from the cache on disk, from here on."""
    names = []

    def note(event: str, duration_secs: float, **about) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def random_video(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, frames, size, fps):
    decode.write_video(path, random_video((frames, *size, 3)), fps=fps)


def score(scorer, inputs, output, **arguments):
    return predict(
        find_videos(inputs), scorer, output, form=scorer.input_format, batch_size=2, progress=False, **arguments
    )


def test_after_the_first_video_no_other_compiles_anything(workdir, tmp_path, compiled):
    write(tmp_path / "first.avi", 12, (48, 64), 25)
    (tmp_path / "others").mkdir()
    for name, frames, size, fps in [
        ("short", 2, (64, 48), 25), ("long", 40, (32, 120), 60), ("small", 13, (16, 16), 5),
        ("large", 12, (240, 320), 30), ("shifted", 15, (48, 64), 24),
    ]:  # fmt: skip
        write(tmp_path / "others" / f"{name}.avi", frames, size, fps)
    program_module._backbones.cache_clear()  # Another test may have compiled the same.
    scorer = RunScorer(configured(), workdir)
    assert score(scorer, tmp_path / "first.avi", tmp_path / "out").exit_code == 0
    assert sorted(compiled) == ["jit(clip_features)", "jit(tell)"]
    compiled.clear()
    report = score(scorer, tmp_path / "others", tmp_path / "out")
    assert len(report.rows) == 5 and not report.errors
    assert compiled == []
    # Runs that differ in their weights alone share the backbone's program.
    score(RunScorer(configured(seed=3), workdir), tmp_path / "first.avi", tmp_path / "out")
    assert not any("clip_features" in name for name in compiled) and len(compiled) <= 1


def test_neither_clips_at_a_time_nor_folding_change_a_score(workdir, monkeypatch):
    seen = []

    def counted(self, clip):
        program = backbone(self, clip)

        def counting(weights, clips):
            seen.append(len(clips))
            return program(weights, clips)

        return counting

    backbone = program_module.Program.backbone
    monkeypatch.setattr(program_module.Program, "backbone", counted)
    video = random_video((2, 3, 8, 32, 32, 3))
    one = RunScorer(configured(), workdir)
    four = RunScorer(configured(**{"predict.clips": 4}), workdir)
    expected = one.score(video, plain=True)
    for scorer, calls in ((one, [1] * 6), (four, [4] * 2)):
        seen.clear()
        told = scorer.score(video)
        # Every clip once: the last four have two that are there twice.
        assert seen == calls
        np.testing.assert_allclose(told.mean, expected.mean, rtol=1e-5)
        np.testing.assert_allclose(told.sigma, expected.sigma, rtol=1e-5)
        for level in (0.5, 0.9, 0.6):
            np.testing.assert_allclose(told.interval(level), told.raw.interval(level), rtol=1e-5)
    assert np.ptp(expected.mean) > 0


def test_bfloat16_and_what_it_costs(workdir, tmp_path):
    write(tmp_path / "a.avi", 12, (48, 64), 25)
    config = configured(**{"predict.dtype": "bfloat16"})
    # It is another way to compute the same: what was learnt of the run's uncertainty still applies.
    assert config_lib.fingerprint(config) == config_lib.fingerprint(configured())
    scorer = RunScorer(config, workdir)
    assert scorer.describe()["dtype"] == "bfloat16"
    # A result says how many training videos were left out, not which.
    assert "excluded" not in scorer.describe()["trained_on"]
    scorer.trained_on["excluded"] = ["patient_1"]
    assert scorer.describe()["trained_on"]["excluded"] == 1
    score(scorer, tmp_path / "a.avi", tmp_path / "out", check=True)
    told = json.loads((tmp_path / "out" / "scores.json").read_text())["check"]
    sigma = json.loads((tmp_path / "out" / "scores.json").read_text())["videos"][0]["sigma"]
    assert 0 < told["largest_difference"]["score"] < 0.05 * sigma


def test_an_explicit_dtype_of_training_holds_for_scoring():
    assert str(inference_dtype(configured(**{"model.dtype": "bfloat16"}))) == "bfloat16"
    both = {"model.dtype": "bfloat16", "predict.dtype": "float32"}
    assert str(inference_dtype(configured(**both))) == "float32"
