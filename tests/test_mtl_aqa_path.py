"""MTL-AQA as its users have it: frames, annotations and a Kinetics file in; figures, a checkpoint and a score out."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes, safe_pickle
from aqa_jax.data.decode import write_video
from aqa_jax.modes import Request
from aqa_jax.train import loop
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.final import evaluate_run
from aqa_jax.train.run import Run, restored_like
from configs import mtl_aqa_dae_mt
from tests.weights import fakes, torch_writer

ANNOTATIONS = Path(__file__).parent / "data" / "annotations" / "mtl_aqa" / "augmented_final_annotations_dict.pkl"
WIDTH = 0.05


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Twelve dives of the real annotations in MUSDL's layout, with small noisy frames, and a Kinetics file."""
    folder = tmp_path_factory.mktemp("mtl_aqa")
    annotations = safe_pickle.load(ANNOTATIONS)
    keys = [key for key in annotations if key[0] in (1, 2, 3)]
    splits = {"train": keys[:4] + keys[-4:], "test": keys[4:8]}
    (folder / "info").mkdir()
    kept = {key: dict(annotations[key]) for split in splits.values() for key in split}
    (folder / "info" / ANNOTATIONS.name).write_bytes(pickle.dumps(kept, 2))
    rng = np.random.default_rng(0)
    for split, wanted in splits.items():
        (folder / "info" / f"{split}_split_0.pkl").write_bytes(pickle.dumps(wanted, 2))
        for video, dive in wanted:
            frames = folder / "frames" / f"{video:02d}_{dive:02d}"
            frames.mkdir(parents=True)
            for number in range(109):
                cv2.imwrite(str(frames / f"{number:03d}.jpg"), rng.integers(0, 256, (40, 72, 3), np.uint8))
    state = fakes.torch_state("piergiaj", WIDTH)
    torch_writer.write_legacy(folder / "rgb_imagenet.pt", torch_writer.tensors(state))
    return folder


@pytest.fixture(scope="module")
def config(raw, tmp_path_factory):
    changes = {
        "data.raw_dir": str(raw),
        "data.data_dir": str(tmp_path_factory.mktemp("data")),
        "data.options": "height=36,width=64",
        "data.crop": 32,
        "data.validation_fraction": 0.25,
        "model.width": WIDTH,
        "model.weights": str(raw / "rgb_imagenet.pt"),
        "head.target": "judges",
        "train.batch_size": 2,
        "train.steps": 4,
        "evaluate.batch_size": 2,
        "evaluate.bootstrap": 0,
    }
    values = mtl_aqa_dae_mt.get_config()
    values.update_from_flattened_dict(changes)
    return config_lib.resolve(values)


def test_from_frames_to_a_score(raw, config, tmp_path, capsys):
    workdir = tmp_path / "run"
    content = evaluate_run(loop.train(config, workdir), workdir, workdir / "evaluation")
    assert "tensors used" in capsys.readouterr().out
    assert content["videos"] == {"train": 4, "validation": 4, "test": 4}
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert metrics["metrics"]["num_examples"] == 4
    assert "published test split" in metrics["protocol"]

    run = Run(config)
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore_state(4, restored_like(run))
    checkpoints.close()
    # Frozen statistics are the Kinetics file's to the bit; scale and shift were trained.
    source = fakes.torch_state("piergiaj", WIDTH)
    stem = {group: state[group]["i3d"]["Conv3d_1a_7x7"]["bn"] for group in ("stats", "trainable")}
    np.testing.assert_array_equal(stem["stats"]["mean"], source["Conv3d_1a_7x7.bn.running_mean"])
    assert not np.array_equal(stem["trainable"]["bias"], source["Conv3d_1a_7x7.bn.bias"])

    video = tmp_path / "new_dive.mp4"
    frames = np.random.default_rng(1).integers(0, 256, (120, 48, 96, 3), np.uint8)
    write_video(video, frames, 25)
    values = json.loads((workdir / "config.json").read_text())
    values["predict"]["difficulty"] = 3.0
    request = Request(config_lib.resolve(values), workdir, (str(video),), tmp_path / "scores")
    assert modes.run("predict", request) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    (row,) = scores["videos"]
    assert row["frames"] == 120 and row["resampled"] and np.isfinite(row["score"]) and row["sigma"] > 0


def test_a_kinetics_file_becomes_a_workdir(raw, config, tmp_path, capsys):
    request = Request(config, Path(), weights=str(raw / "rgb_imagenet.pt"), output=tmp_path / "imported")
    assert modes.run("import_weights", request) == 0
    out = capsys.readouterr().out
    assert "Mixed_3b.b1a.conv3d.weight" in out and "-> i3d/Mixed_3b/b1a/conv/kernel" in out
    assert (tmp_path / "imported" / "weights.safetensors").exists()
    checkpoints = Checkpoints(tmp_path / "imported" / "checkpoints")
    state = checkpoints.restore_state(0, restored_like(Run(config)))
    checkpoints.close()
    kernel = fakes.torch_state("piergiaj", WIDTH)["Mixed_3b.b1a.conv3d.weight"]
    np.testing.assert_array_equal(
        state["trainable"]["i3d"]["Mixed_3b"]["b1a"]["conv"]["kernel"], np.einsum("oithw->thwio", kernel)
    )
