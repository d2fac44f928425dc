"""Videos left out on purpose: gone from every split, nothing else moved, and said in every result."""

import json
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.errors import ConfigError
from aqa_jax.evaluate.protocol import differing_parts, fingerprint, protocol
from aqa_jax.train.run import Run

TOY = str(Path(__file__).parents[1] / "data" / "toy_videos")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def run(data_dir, exclude=""):
    config = config_lib.default_config()
    config.update_from_flattened_dict(
        {
            "data.builder": TOY, "data.data_dir": str(data_dir), "data.window": 20, "data.clip_starts": (0, 4),
            "data.crop": 24, "data.validation_fraction": 0.3, "data.exclude": exclude, "train.batch_size": 4,
        }
    )  # fmt: skip
    return Run(config_lib.resolve(config))


def ids(one):
    column = one.store.table.column("id")
    return {split: set(column[rows]) for split, rows in one.rows.items()}


def test_excluded_videos_are_gone_and_no_other_moves(data_dir, tmp_path):
    whole, left = run(data_dir), run(data_dir, "train-4, test-1")
    gone = {"train-4", "test-1"}
    assert ids(left) == {split: some - gone for split, some in ids(whole).items()}
    seen = np.concatenate([batch["row"][batch["mask"] > 0] for batch in left.batches_of("test")])
    assert set(left.store.table.column("id")[seen]) == ids(whole)["test"] - gone
    file = tmp_path / "bad.txt"
    file.write_text("\ufefftrain-4\n\n  test-1 \n", encoding="utf-8")
    from_file = run(data_dir, f"@{file}")
    assert ids(from_file) == ids(left)
    # The config that a workdir keeps does not change with the file.
    file.unlink()
    kept = json.loads(config_lib.to_json(from_file.config))
    assert config_lib.excluded_ids(config_lib.resolve(kept).data) == ("test-1", "train-4")


def test_every_result_says_so(data_dir):
    whole, left = run(data_dir), run(data_dir, "train-4")
    assert "1 video(s) EXCLUDED: train-4" in protocol(left) and "EXCLUDED" not in protocol(whole)
    assert fingerprint(left)["parts"]["excluded"] == ["train-4"]
    assert any(part.startswith("excluded: ") for part in differing_parts(fingerprint(whole), fingerprint(left)))
    assert left.trained_on()["excluded"] == ["train-4"] and whole.trained_on()["excluded"] == []
    assert config_lib.fingerprint(left.config) != config_lib.fingerprint(whole.config)


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ("train-4,trian-5", r"no video trian-5 \(did you mean 'train-5'\?\)"),
        (",".join(f"test-{k}" for k in range(5)), "leaves no video in test"),
        ("@no such file", "cannot be read"),
    ],
)
def test_what_cannot_be_left_out_is_refused(data_dir, exclude, message):
    with pytest.raises(ConfigError, match=f"config.data.exclude.*{message}"):
        _ = run(data_dir, exclude).rows
