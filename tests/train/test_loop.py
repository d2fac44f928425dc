"""The whole path on tiny rendered dives: train, resume, evaluate, restore."""

import csv
import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes
from aqa_jax.check import run as check_run
from aqa_jax.errors import CheckpointError, ConfigError, DataError, RunError
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.models.score_model import normalise
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.train import loop
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.evaluation import predict_rows
from aqa_jax.train.final import evaluate_run, summary
from aqa_jax.train.lock import only_writer
from aqa_jax.train.run import Run, restored_like
from aqa_jax.train.step import shard
from tests.tiny import STEPS, tiny_config


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    config = config_lib.resolve(tiny_config(data_dir))
    run = loop.train(config, workdir)
    evaluate_run(run, workdir, workdir / "evaluation")
    return config, workdir


def test_a_run_leaves_the_same_files_in_the_same_places(trained):
    _, workdir = trained
    for name in (
        "config.json", "trained_on.json", "curves.png", "logs/train.jsonl", "evaluation/metrics.json",
        "evaluation/predictions.csv", "evaluation/scatter.png", "evaluation/recalibration.json",
        "evaluation/familiarity.npz", "evaluation/reliability.png", "evaluation/uncertainty.png",
    ):  # fmt: skip
        assert (workdir / name).stat().st_size > 0, name
    assert list((workdir / "logs" / "tensorboard").iterdir())


def test_every_test_video_is_predicted_exactly_once(trained):
    config, workdir = trained
    run = Run(config)
    with (workdir / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = run.store.table.column("id")[run.rows["test"]]
    assert [row["id"] for row in rows] == list(wanted)
    assert len({row["mean"] for row in rows}) > 1


def test_metrics_name_their_protocol_and_every_selection(trained):
    config, workdir = trained
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert set(metrics["all_selections"]) == {
        "best_on_validation", "last", "best_on_test", "mean_of_last_10",
    }  # fmt: skip
    assert metrics["all_selections"]["last"]["step"] == STEPS
    assert metrics["selection"]["rule"] == "best_on_validation"
    assert metrics["config_hash"] == config_lib.fingerprint(config)
    assert "validation: 20% of the training split by groups" in metrics["protocol"]
    assert metrics["metrics"]["num_examples"] == 20
    assert metrics["videos"]["train"] + metrics["videos"]["validation"] == 40


def test_headline_figures_are_recalibrated_and_the_raw_ones_stand_beside_them(trained):
    _, workdir = trained
    content = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    learnt = content["recalibration"]
    assert learnt["videos"] == content["videos"]["validation"] and learnt["temperature"] > 0
    assert content["raw"]["nll"] != content["metrics"]["nll"]
    assert content["raw"]["sharpness"] * learnt["temperature"] == pytest.approx(content["metrics"]["sharpness"])
    # Both are compared with the same thing: one sigma for all.
    assert {"nll_gain", "crps_gain"} <= content["metrics"].keys() & content["metrics"]["confidence"].keys()
    for rule in ("best_on_validation", "last", "best_on_test"):
        assert {"raw", "recalibration", "test"} <= content["all_selections"][rule].keys()
    with (workdir / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        number = {name: float(row[name]) for name in row if name not in ("id", "split", "group")}
        assert number["sigma"] == pytest.approx(learnt["temperature"] * number["raw_sigma"])
        for level, entry in learnt["levels"].items():
            half = entry["factor"] * number["raw_sigma"]
            assert number[f"high{level}"] == pytest.approx(number["mean"] + half)
            assert number[f"low{level}"] == pytest.approx(number["mean"] - half)
    flagged = np.mean([int(row["unfamiliar"]) for row in rows])
    assert content["familiarity"]["flagged"] == pytest.approx(flagged)
    assert f"{learnt['videos']} validation videos" in content["familiarity"]["learnt_on"]
    assert "learnt on" in summary(content) and "unlike the training videos" in summary(content)


def test_without_recalibration_the_figures_are_raw_and_say_so(trained, data_dir, tmp_path):
    _, workdir = trained
    changes = {
        "evaluate.recalibration": "none", "evaluate.familiarity_neighbours": 0, "evaluate.point": "sample",
        "evaluate.selection": "last",
    }  # fmt: skip
    shutil.copy(workdir / "evaluation" / "recalibration.json", tmp_path)  # of an evaluation before
    run = Run(config_lib.resolve(tiny_config(data_dir, **changes)))
    content = evaluate_run(run, workdir, tmp_path)
    assert content["recalibration"] == {"raw": "config.evaluate.recalibration=none"}
    assert "raw" not in content and "familiarity" not in content
    assert "sigma and intervals: raw: config.evaluate.recalibration=none" in summary(content)
    before = json.loads((workdir / "evaluation" / "metrics.json").read_text())["all_selections"]["last"]
    assert content["metrics"]["nll"] == pytest.approx(before["raw"]["nll"])
    assert not (tmp_path / "recalibration.json").exists()
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert not {"raw_sigma", "distance", "unfamiliar"} & rows[0].keys()
    assert all(float(row["point"]) != float(row["mean"]) for row in rows)


def test_two_test_videos_of_one_score_are_undefined_in_words_and_never_nan(trained, tmp_path):
    config, workdir = trained
    run = Run(config)
    run.rows["test"] = run.rows["test"][:2]
    run.store.table.column("score")[run.rows["test"]] = 50.0
    content = evaluate_run(run, workdir, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)["metrics"]
    assert metrics["rho"] is None and "2 examples: at least 3 are needed" in metrics["undefined"]["rho"]
    assert metrics["rl2"] is None and metrics["mae"] > 0 and metrics["confidence"]["rho"] is None
    assert "nan" not in summary(content)
    assert (tmp_path / "scatter.png").exists() and not (tmp_path / "reliability.png").exists()


def test_several_views_of_a_video_are_averaged(trained, data_dir, tmp_path):
    _, workdir = trained
    run = Run(config_lib.resolve(tiny_config(data_dir, **{"evaluate.views": 3})))
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore_state(STEPS, restored_like(run))
    checkpoints.close()
    averaged = predict_rows(run.output_step, state, run.batches_of("test"), quiet=True)
    assert list(averaged["row"]) == list(run.rows["test"])
    row = int(run.rows["test"][5])
    table = run.store.table
    means = []
    for view in range(3):
        frames = run.window.evaluate(int(table.column("num_frames")[row]), 0, view, 3)
        video = run.store.read(row, frames.reshape(-1)).reshape(1, *run.batch_shape)
        batch = {
            "video": np.repeat(video, 8, 0),
            "row": np.full(8, row),
            "difficulty": np.full(8, table.column("difficulty")[row], np.float32),
        }
        outputs = run.output_step(state, shard(batch, jax.local_device_count()))
        means.append(float(np.asarray(outputs["mean"]).ravel()[0]))
    assert len(set(means)) == 3
    assert averaged["mean"][5] == pytest.approx(np.mean(means), rel=1e-5)


def test_splits_share_no_athlete(trained):
    run = Run(trained[0])
    groups = {split: set(run.store.table.column("group")[rows]) for split, rows in run.rows.items()}
    assert not groups["train"] & groups["validation"]
    assert not (groups["train"] | groups["validation"]) & groups["test"]


def test_resumed_equals_uninterrupted(trained, data_dir, tmp_path, monkeypatch):
    config, whole = trained
    workdir = tmp_path / "resumed"

    def cut_off(run, log, watch, step, figures, rows, _read=loop._read):
        if step == 5:
            raise KeyboardInterrupt
        _read(run, log, watch, step, figures, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_read", cut_off)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, workdir)
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert checkpoints.steps() == [3]
    checkpoints.close()
    with monkeypatch.context() as patch:
        # Initial weights are for the first step alone: what became of their file is nothing to who goes on.
        patch.setattr(loop, "initial_state", None)
        run = loop.train(config, workdir)
    evaluate_run(run, workdir, workdir / "evaluation")
    for name in ("metrics.json", "predictions.csv"):
        assert (workdir / "evaluation" / name).read_bytes() == (whole / "evaluation" / name).read_bytes()
    for ours, theirs in zip(*(jax.tree.leaves(_last(config, d)) for d in (workdir, whole)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_does_not_go_on_with_another_dataset_nor_beside_another_process(trained, tmp_path):
    config, workdir = trained
    copy = shutil.copytree(workdir, tmp_path / "copy")
    said = rf"Another process \({os.getpid()} on .*\) trains in"
    with only_writer(copy), pytest.raises(RunError, match=said), only_writer(copy, seconds=0):
        pass
    kept = (copy / "trained_on.json").read_text()
    fingerprint = json.loads(kept)["fingerprint"]
    (copy / "trained_on.json").write_text(kept.replace(fingerprint, "0" * len(fingerprint)))
    with pytest.raises(DataError, match="trained so far on a dataset with the fingerprint 000000000000; the one in"):
        loop.train(config, copy)


def test_a_state_that_is_not_finite_is_never_saved(trained, tmp_path, monkeypatch):
    config, _ = trained
    monkeypatch.setattr(loop.states, "not_finite", lambda state: ["trainable/head/fc1/kernel"])
    with pytest.raises(
        RunError, match=r"Step 3: trainable/head/fc1/kernel became NaN or infinite. Videos of the batch: \w+"
    ):
        loop.train(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/[0-9]*"))


def test_a_run_is_checked_file_by_file(trained, tmp_path, capsys):
    config, workdir = trained
    assert check_run.check(workdir) == 0
    said = capsys.readouterr().out
    assert f"checkpoints/{STEPS} " in said and "evaluation/manifest.json" in said and "DAMAGED" not in said
    copy = shutil.copytree(workdir, tmp_path / "copy")

    def change(name, before, after):
        content = (copy / name).read_text()
        assert before in content
        (copy / name).write_text(content.replace(before, after, 1))

    change("config.json", '"seed": 0', '"sead": 0')
    change("trained_on.json", "aqa_jax.trained_on/1", "aqa_jax.trained_on/9")
    change("evaluation/predictions.csv", ".", ",")
    change("evaluation/recalibration.json", '"best_on_validation"', '"last"')
    change("logs/train.jsonl", "}", "")
    (copy / "evaluation" / "scatter.png").unlink()
    next((copy / "checkpoints" / str(STEPS) / "optimizer" / "d").iterdir()).write_bytes(b"")
    (copy / "checkpoints" / "15.orbax-checkpoint-tmp").mkdir()
    assert check_run.check(copy) == 1
    found = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "DAMAGED" in line}
    assert found.keys() == {
        "config.json", "trained_on.json", f"checkpoints/{STEPS}", "logs/train.jsonl", "evaluation/predictions.csv",
        "evaluation/recalibration.json", "evaluation/manifest.json",
    }  # fmt: skip
    assert (
        "did you mean config.seed" in found["config.json"]
        and "scatter.png is missing" in found["evaluation/manifest.json"]
    )
    assert "bytes instead of" in found[f"checkpoints/{STEPS}"]
    assert modes.run("check", modes.Request(config_lib.Config(), copy)) == 1
    with pytest.raises(ConfigError, match="nothing is no run"):
        modes.run("check", modes.Request(config, tmp_path / "nothing"))


def _last(config, workdir):
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore_state(checkpoints.steps()[-1], restored_like(Run(config)))
    checkpoints.close()
    return state


def test_plain_orbax_restores_the_arrays(trained):
    config, workdir = trained
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        arrays = manager.restore(manager.latest_step(), args=args)["state"]
    ours = _last(config, workdir)
    np.testing.assert_array_equal(
        arrays["trainable"]["head"]["fc1"]["kernel"], np.asarray(ours["trainable"]["head"]["fc1"]["kernel"])
    )


def test_a_restored_scorer_agrees_with_the_evaluation(trained):
    config, workdir = trained
    run, scorer = Run(config), RunScorer(config, workdir)
    with (workdir / "evaluation" / "predictions.csv").open() as file:
        by_id = {row["id"]: row for row in csv.DictReader(file)}
    row = int(run.rows["test"][3])
    table = run.store.table
    expected = by_id[table.column("id")[row]]
    frames = run.window.evaluate(int(table.column("num_frames")[row]), int(table.column("eval_start")[row]))
    video = run.store.read(row, frames.reshape(-1)).reshape(1, *run.batch_shape)
    scored = scorer.score(video, table.column("difficulty")[[row]])
    assert float(scored.mean[0]) == pytest.approx(float(expected["mean"]), rel=1e-5)
    for name in ("sigma", "raw_sigma", "distance", "unfamiliar"):
        found = scored.raw.sigma if name == "raw_sigma" else getattr(scored, name)
        assert float(found[0]) == pytest.approx(float(expected[name]), rel=1e-4, abs=1e-5), name
    for level in LEVELS:
        ends = [float(end[0]) for end in scored.interval(level / 100)]
        assert ends == pytest.approx([float(expected[f"{end}{level}"]) for end in ("low", "high")], rel=1e-4)
    assert scorer.describe()["intervals"].startswith("conformal (by temperature at")
    assert "nearest of" in scorer.describe()["familiarity"]
    with pytest.raises(ConfigError, match="multiplies by the difficulty"):
        scorer.score(video)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate.selection": "last"}, "belongs to another step or config"),
        ({"evaluate.views": 2}, "averaged 2 views"),
        ({}, "left no recalibration.json"),
    ],
)
def test_what_was_learnt_for_other_weights_is_not_applied(trained, data_dir, tmp_path, changes, message):
    config, workdir = trained
    copy = shutil.copytree(workdir, tmp_path / "copy", ignore=shutil.ignore_patterns("logs"))
    if not changes:
        shutil.rmtree(copy / "evaluation")
    scorer = RunScorer(config_lib.resolve(tiny_config(data_dir, **changes)), copy)
    assert message in scorer.describe()["intervals"] and scorer.describe()["intervals"].startswith("raw: ")
    scored = scorer.score(np.zeros((1, *Run(config).batch_shape), np.uint8), np.array([2.0]))
    assert scored.unfamiliar is None and scored.distance is None
    assert scored.sigma == scored.raw.sigma
    np.testing.assert_allclose(scored.interval(0.9), np.array(scored.raw.interval(0.9)))


def test_noise_and_another_world_are_flagged_and_dives_are_not(trained):
    config, workdir = trained
    run, scorer = Run(config), RunScorer(config, workdir)
    noise = np.random.default_rng(0).integers(0, 256, (6, *run.batch_shape), np.uint8)
    bars = np.zeros((2, *run.batch_shape), np.uint8)
    bars[..., ::8, :] = 255
    strange = scorer.score(np.concatenate([noise, bars]), np.full(8, 3.0))
    assert strange.unfamiliar.all() and strange.distance.min() > 1.5 * scorer.trust.familiarity.threshold
    content = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert content["familiarity"]["flagged"] < 0.5  # a threshold of eight videos is a rough one


def test_the_script_tells_which_strange_videos_are_flagged(trained, monkeypatch, capsys):
    _, workdir = trained
    monkeypatch.setattr(sys, "path", list(sys.path))
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "unfamiliar.py"))
    script["main"](["--workdir", str(workdir)])
    content = json.loads((workdir / "evaluation" / "unfamiliar.json").read_text())
    shares = content["flagged"]["first and last (as built)"]
    # Two Inception modules tell noise from dives, and most taps.
    assert shares["white noise"] == 1 and shares["finger taps"] > 0.5 > shares["test"]
    assert content["videos"]["finger taps"] == 12 and content["videos"]["test"] == 20
    assert "| white noise | 20 | 1.00 |" in capsys.readouterr().out


def test_another_config_is_refused_in_a_used_workdir(trained, data_dir):
    _, workdir = trained
    other = config_lib.resolve(tiny_config(data_dir, **{"optimizer.learning_rate": 5e-4}))
    with pytest.raises(ConfigError, match=r"config.optimizer.learning_rate: 0\.\d+ -> 0.0005"):
        loop.train(other, workdir)


def test_a_checkpoint_of_another_width_is_refused(trained, data_dir):
    _, workdir = trained
    other = config_lib.resolve(tiny_config(data_dir, **{"model.width": 0.1}))
    said = r"does not fit this model, .*i3d/.* is float32 \[.*\], in this model float32 \["
    with pytest.raises(CheckpointError, match=said):
        RunScorer(other, workdir)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_videos(trained, data_dir, tmp_path, monkeypatch):
    config, _ = trained

    def poisoned(run, original=Run.batches_for_training):
        # The batches alone: such labels are refused where the model is made.
        scores = run.store.table.column("score")
        kept = scores.copy()
        scores[run.rows["train"]] = np.nan
        iterator = original(run)
        scores[:] = kept
        return iterator

    monkeypatch.setattr(Run, "batches_for_training", poisoned)
    with pytest.raises(RunError, match=r"Step 1: the loss is nan.*Videos of the batch: \w+") as error:
        loop.train(config, tmp_path / "poisoned")
    assert str(error.value).count(",") >= 7
    assert not list((tmp_path / "poisoned" / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.batch_size": 100}, "there are 3[0-9] training videos"),
        ({"data.crop": 64}, "larger than the stored frames"),
        ({"model.weights": "nowhere.pt"}, "nowhere.pt"),
        ({"evaluate.selection": "best_on_test", "data.options": "train_videos=40,test_videos=2"}, "at least 3 are"),
        ({"data.options": "train_vidos=40"}, "did you mean 'train_videos'"),
    ],
)
def test_a_run_that_cannot_succeed_says_so_before_it_starts(changes, message, data_dir, tmp_path):
    config = config_lib.resolve(tiny_config(data_dir, **changes))
    with pytest.raises(Exception, match=message) as error:
        loop.train(config, tmp_path / "run")
    assert type(error.value).__module__ == "aqa_jax.errors"
    assert not (tmp_path / "run" / "checkpoints" / "0").exists()


def test_metrics_survive_a_vanished_dataset_for_scoring(trained, tmp_path):
    config, workdir = trained
    copy = shutil.copytree(workdir, tmp_path / "copy")
    changed = tiny_config(tmp_path / "no_data")
    scorer = RunScorer(config_lib.resolve(changed), copy)
    video = np.zeros((1, *Run(config).batch_shape), np.uint8)
    assert np.isfinite(scorer.score(video, np.array([2.0])).mean).all()


def test_what_describes_a_video_is_its_feature_and_an_early_layer(trained):
    config, workdir = trained
    run, scorer = Run(config), RunScorer(config, workdir)
    video = np.random.default_rng(0).integers(0, 256, (2, *run.batch_shape), np.uint8)
    early, features = scorer.distribution(video, np.full(2, 3.0))[1]

    @jax.jit
    def reference(state, video):
        model = run.assembler.merge(state)
        frames = normalise(video, "imagenet", np.float32)
        layers = [dict(model.i3d.endpoints(frames[:, clip])) for clip in range(2)]
        feature = sum(model.i3d.pool(one["Mixed_3c"]).mean(1) for one in layers) / 2
        return sum(one["Mixed_3b"].mean((1, 2, 3)) for one in layers) / 2, feature

    for found, wanted in zip((early, features), reference(scorer._state, video), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
