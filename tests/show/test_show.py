"""What --mode show says and draws is what is there, and what the model gets."""

import json

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes
from aqa_jax.data.decode import iterate_frames, read_image, write_video
from aqa_jax.errors import ConfigError
from aqa_jax.modes import Request
from aqa_jax.show import sheets
from aqa_jax.show.facts import facts_of, splits_of, table_of
from aqa_jax.show.seen import back_to_pictures, seen_in_evaluation, seen_in_training
from aqa_jax.show.show import show
from aqa_jax.train.run import Run
from configs import folder, folder_pecop

STEP = 3  # frame k of a video is 3 k bright


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Nine videos of 80 frames of five people, one of them unlabelled."""
    where = tmp_path_factory.mktemp("raw")
    lines = ["id,score,subject"]
    for k in range(9):
        write_video(where / f"v{k}.avi", (np.full((32, 32, 3), STEP * t, np.uint8) for t in range(80)))
        lines.append(f"v{k},{k if k else ''},{'abcde'[k // 2]}")
    (where / "labels.csv").write_text("\n".join(lines))
    return where


def make_run(module, raw, **keys):
    config = module.get_config()
    changes = {
        "data.raw_dir": str(raw), "data.data_dir": str(raw.parent / f"{raw.name}_built"), "model.width": 0.02,
        "data.options": "height=20,width=20", "data.crop": 16, "model.weights": "", "train.batch_size": 4,
        "data.threads": 1,
    }  # fmt: skip
    config.update_from_flattened_dict(changes | keys)
    return Run(config_lib.resolve(config))


@pytest.fixture(scope="module")
def run(raw):
    return make_run(folder, raw)


def test_everything_is_written(run, tmp_path, capsys):
    assert modes.run("show", Request(run.config, tmp_path, output=tmp_path / "out")) == 0
    said = capsys.readouterr().out
    names = ["clips_test.mp4", "clips_test.png", "clips_train.mp4", "clips_train.png", "scores.png", "show.json"]
    names += [f"videos_{split}.png" for split in ("test", "train", "unlabelled", "validation")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert all(str(tmp_path / "out" / name) in said for name in names if name != "show.json")
    facts = json.loads((tmp_path / "out" / "show.json").read_text())["splits"]
    assert sum(row["videos"] for row in facts.values()) == 9
    assert facts["unlabelled"] == {"videos": 1, "groups": 1, "labelled": 0, "score": None, "frames": [80.0] * 3}
    assert said.splitlines()[1].split() == ["split", "videos", "groups", "labelled", "scores", "frames"]
    assert "the model sees 4 clips of 16 frames, 16x16" in said
    # Frames of the video come from the clips: of the first clip brighter and brighter, three times.
    frames = list(iterate_frames(tmp_path / "out" / "clips_test.mp4"))
    assert len(frames) == 3 * 16
    picture = read_image(tmp_path / "out" / "videos_train.png")
    assert (picture.reshape(-1, 3) == 255).all(1).any() and picture.std() > 20


def test_without_a_test_split_what_there_is_is_shown(raw, tmp_path):
    """Which videos to test on is chosen later, and by what these pictures tell."""
    run = make_run(folder, raw, **{"data.options": "height=20,width=20,test_fraction=0", "data.validation_fraction": 0})
    said = "\n".join(show(run, tmp_path))
    names = ["clips_train.mp4", "clips_train.png", "scores.png", "show.json", "videos_train.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "videos_unlabelled.png"]
    assert "There is no test split: a training needs config.data.test_where" in said
    with pytest.raises(ConfigError, match="has no test split: choose the videos to test on"):
        _ = Run(run.config).rows


def test_examples_are_those_of_the_pipeline(run):
    shown, batch = seen_in_training(run, 4), next(run.batches_for_training())
    assert [example.id for example in shown] == [run.store.table.column("id")[row] for row in batch["row"]]
    np.testing.assert_array_equal(np.stack([example.clips for example in shown]), batch["video"])
    assert shown[0].facts == f"score {run.store.table.column('score')[batch['row'][0]]:g}"
    fixed = seen_in_evaluation(run, "test", 2)
    rows = run.rows["test"]
    assert [example.id for example in fixed] == [run.store.table.column("id")[row] for row in (rows[0], rows[-1])]
    brightness = fixed[0].clips.mean((2, 3, 4)).ravel()
    np.testing.assert_allclose(brightness, STEP * np.linspace(0, 79, 64).astype(int), atol=2)


def test_pace_labels_are_those_of_the_frames_shown(raw):
    run = make_run(folder_pecop, raw)
    for example in seen_in_training(run, 4) + seen_in_evaluation(run, "test", 2):
        assert example.clips.shape[:2] == (1, 32) and example.marked.sum() == 8
        words = example.facts.split()
        segment, pace = int(words[1]), int(words[6].rstrip(","))
        assert example.marked.argmax() == 8 * (segment - 1)
        steps = np.diff(example.clips[0].mean((1, 2, 3)))
        inside = example.marked[:-1]
        np.testing.assert_allclose(steps[inside].mean(), STEP * pace, atol=0.6)
        np.testing.assert_allclose(steps[~inside].mean(), STEP, atol=0.6)


def test_splits_hold_every_video_once(run):
    splits = splits_of(run)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(9))
    table = table_of({name: facts_of(run.store.table, rows) for name, rows in splits.items()})
    assert len({line.rstrip().rfind("80 · 80 · 80") for line in table.splitlines()[1:]}) == 1


@pytest.mark.parametrize(("dtype", "most"), [("float32", 0), ("bfloat16", 2)])
def test_normalised_and_back(dtype, most):
    values = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    for kind in ("imagenet", "minus_one_to_one"):
        back = back_to_pictures(values, kind, np.dtype(dtype) if dtype == "float32" else _bfloat16())
        assert np.abs(back.astype(int) - values).max() <= most


def _bfloat16():
    import jax.numpy as jnp

    return jnp.dtype("bfloat16")


def test_a_bin_a_class_and_few_bins_for_real_numbers():
    assert sheets.bin_edges(np.array([0.0, 1, 1, 4])).tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5]
    assert len(sheets.bin_edges(np.array([7.0]))) == 2
    assert len(sheets.bin_edges(np.array([61.2, 61.2001, 95.0]))) == 11


def test_ids_are_cut_in_the_middle():
    assert sheets.shortened("short", 10) == "short"
    assert sheets.shortened("a_very_long_name_of_a_video_0017", 12) == "a_v…deo_0017"
    sheet = sheets.larger(np.zeros((4, 4, 3), np.uint8), (8, 8))
    assert sheet.shape == (8, 8, 3)
