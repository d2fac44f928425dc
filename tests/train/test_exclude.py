"""Videos left out on purpose: gone from every split, nothing else moved, and said in every result."""

import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.data.records import decode_record
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError
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
    with mock.patch("aqa_jax.train.run.Assembler"):  # No model is needed, and tracing one takes seconds.
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
    file.write_text("a\u2028b\r\nc\n", encoding="utf-8")
    listed = config_lib.resolve({"data": {"exclude": f"@{file}"}}).data
    assert config_lib.excluded_ids(listed) == ("a\u2028b", "c")


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


def with_a_damaged_video(data_dir, copy, split, number):
    """The dataset with one byte changed in the first record of a split's video; its id."""
    store = run(data_dir).store
    folder = copy / store.directory.relative_to(data_dir)
    shutil.copytree(store.directory, folder)
    row = store.table.rows(split)[number]
    (record,) = store._records(split, [store.table.column("first_record")[row]])
    (shard,) = folder.glob(f"*-{split}.array_record*")
    data = bytearray(shard.read_bytes())
    # The second frame, which every crop of the first clip needs.
    data[data.find(bytes(decode_record(record)[2])) + 200] ^= 1
    shard.write_bytes(data)
    return str(store.table.column("id")[row])


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_video_stops_the_run_by_its_name_and_never_changes_the_number_of_examples(data_dir, tmp_path, split):
    bad = with_a_damaged_video(data_dir, tmp_path, split, 2)
    whole = run(tmp_path)
    # By whatever side of the run it is on; the remedy is in the message.
    part = next(name for name, some in ids(whole).items() if bad in some)
    with pytest.raises(DataError, match=rf"video '{bad}'.*is damaged.*--mode check.*config\.data\.exclude"):
        list(whole.batches_of(part))
    if part == "train":
        batches = whole.batches_for_training()
        with pytest.raises(DataError, match=f"video '{bad}'"):
            for _ in range(len(whole.rows["train"])):
                next(batches)
    left = run(tmp_path, bad)
    seen = np.concatenate([batch["row"][batch["mask"] > 0] for batch in left.batches_of(part)])
    assert sorted(left.store.table.column("id")[seen]) == sorted(ids(whole)[part] - {bad})


def test_a_label_that_is_no_number_stops_the_run_before_its_first_step(data_dir):
    store = run(data_dir).store
    metadata = json.loads(json.dumps(store.metadata))
    metadata["table"]["score"][2] = None
    for exclude, message in (("", r"1 videos have no score: train-2\. .*config\.data\.exclude"), ("train-2", "")):
        one = run(data_dir, exclude)
        one.store = VideoStore(store.directory, metadata)
        if message:
            with pytest.raises(DataError, match=message):
                one.check_columns()
        else:
            one.check_columns()
