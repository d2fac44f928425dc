"""A dataset with every fault that can be put into one: each is found, at its row."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.check import data, duplicates
from aqa_jax.check.built import check_built
from aqa_jax.check.findings import Video
from aqa_jax.check.labels import check_labels
from aqa_jax.check.scan import scan
from aqa_jax.data.build import build
from aqa_jax.data.decode import decode_jpeg
from aqa_jax.data.encode import encode_jpeg
from aqa_jax.data.video_store import RecordWriter, VideoStore
from aqa_jax.errors import ConfigError
from aqa_jax.files import read_csv

TOY = str(Path(__file__).parents[1] / "data" / "toy_videos")
SMALL = {"data.window": 20, "data.clip_starts": (0, 4), "data.crop": 24, "data.validation_fraction": 0.3}


@pytest.fixture(scope="module")
def dives(tmp_path_factory):
    options = {"train_videos": 12, "test_videos": 5, "train_athletes": 4, "test_athletes": 2}
    return build("synthetic_dives", data_dir=tmp_path_factory.mktemp("dives"), options=options, workers=0)


def places(found, level="error"):
    return {(one.kind, one.row, one.id) for one in found if one.level == level}


def test_rendered_dives_are_whole(dives):
    assert check_built(VideoStore.open(dives), needed=36) == []


def rewritten(store, folder, change):
    """A copy whose records and table went through `change`, as some other program might write it."""
    table = {name: list(values) for name, values in store.metadata["table"].items()}
    records, shards = {}, {}
    for split, some in store.metadata["shards"].items():
        records[split] = store._records(split, range(some[0]["records"]))
    change(table, records)
    folder.mkdir()
    for split, some in records.items():
        writer = RecordWriter(folder, "synthetic_dives", split)
        for record in some:
            writer.write(record)
        shards[split] = writer.close()
    metadata = {k: v for k, v in store.metadata.items() if k not in ("checksums", "metadata_sha256")} | {
        "table": table,
        "shards": shards,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    shutil.copy(store.directory / "dataset_info.json", folder)
    return VideoStore.open(folder)


def test_every_fault_is_found_at_its_row(dives, tmp_path):
    store = VideoStore.open(dives)
    per_video = 5  # records of eight frames

    def change(table, records):
        table["score"][1] = None
        table["score"][2] = 200.0
        table["difficulty"][3] = -1.0
        table["judges"][4] = [11.0, *table["judges"][4][1:]]
        table["judges"][5] = table["judges"][5][1:]
        table["score"][6] += 1.0
        table["group"][13] = table["group"][0]
        table["num_frames"][7] -= 1
        records["train"][8 * per_video + 2] = b"no record"
        records["test"][:per_video] = records["train"][9 * per_video : 10 * per_video]
        table["id"][15] = table["id"][14]

    store = rewritten(store, tmp_path / "bad", change)
    ids = store.metadata["table"]["id"]
    found = check_built(store, needed=36)
    assert places(found) == {
        ("label", 1, ids[1]), ("label", 2, ids[2]), ("difficulty", 3, ids[3]), ("judges", 4, ids[4]),
        ("judges", 5, ids[5]), ("group", 13, ids[13]), ("short", 7, ids[7]), ("count", 7, ids[7]),
        ("video", 8, ids[8]), ("pixels", 12, ids[12]), ("id", 15, ids[15]),
    }  # fmt: skip
    assert places(found, "warning") == {("judges", 2, ids[2]), ("judges", 6, ids[6])}
    assert next(one.text for one in found if one.kind == "pixels").startswith(f"the same pixels as {ids[9]} (train")
    assert "1 of 5 records: video" in next(one.text for one in found if one.kind == "video")
    # What is left out is not looked at, in no part of the check.
    excluded = [ids[row] for row in (1, 2, 3, 4, 5, 7, 8, 12, 13, 14)]
    assert places(check_built(store, needed=36, excluded=excluded)) == {("built", None, "")}


def test_another_encoding_of_a_video_is_a_warning(dives):
    store = VideoStore.open(dives)
    frames = [store.read(row, np.arange(36)) for row in range(3)]
    again = [decode_jpeg(encode_jpeg(frame, 70), "x") for frame in frames[1]]
    videos = [
        Video(name, split, name, 1.0) for name, split in (("a", "train"), ("b", "train"), ("c", "test"), ("d", "test"))
    ]
    found = duplicates.check_duplicates(videos, [scan(some) for some in (*frames, again)])
    assert [(one.level, one.kind, one.id) for one in found] == [("warning", "pixels", "d")]
    assert "nearly the same pixels as b (train" in found[0].text
    # A part of a training video in the test split is a leak; a few frames, or black ones, are none.
    cut = [scan(frames[0]), scan(frames[1]), scan(np.concatenate([frames[0][10:34], frames[2][:12]]))]
    (leak,) = duplicates.check_duplicates(videos[:3], cut)
    assert (leak.level, leak.id) == ("error", "c") and "24 of 36 different frames are those of a" in leak.text
    black = np.zeros((30, 32, 32, 3), np.uint8)
    few = [scan(np.concatenate([black, frames[k]])) for k in (0, 1)]
    assert duplicates.check_duplicates([videos[0], videos[2]], few) == []


def test_labels_of_an_unlabelled_split_and_of_other_rules():
    videos = [Video("a", "train", "g", 3.0), Video("b", "unlabelled", "g", None), Video("c", "test", "g", 3.0)]
    assert check_labels(videos, unlabelled=["unlabelled"], groups_apart=False) == []
    found = check_labels([*videos, Video("d", "unlabelled", "h", 1.0)], unlabelled=["unlabelled"])
    assert places(found) == {("label", None, "d"), ("group", None, "c")}
    # Whole numbers without bound come out of a pickle.
    huge = Video("h", "train", "g", 10**400, difficulty=10**400)
    assert places(check_labels([huge])) == {("label", None, "h"), ("difficulty", None, "h")}
    rated = Video("e", "train", "g", 12.0, judges=(2.0,) * 6)
    assert check_labels([rated], rule="sum", score_range=(6, 30)) == []
    assert places(check_labels([Video("f", "train", "g", 12.0, judges=(0.0, *(2.0,) * 5))], rule="sum")) == {
        ("judges", None, "f")
    }


def settings(data_dir, **changes):
    config = config_lib.default_config()
    config.update_from_flattened_dict({"data.builder": TOY, "data.data_dir": str(data_dir), **SMALL, **changes})
    return config_lib.resolve(config)


def test_the_mode_prints_a_table_writes_it_and_tells_by_its_exit_code(tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"Nothing to check: .*is not built"):
        data.check(settings(tmp_path))
    directory = build(TOY, data_dir=tmp_path, workers=0)
    side = VideoStore.open(directory).frame_size[0]
    # Its test videos are those of the training split, and so are their groups; and the config does not fit.
    assert data.check(settings(tmp_path, **{"data.crop": side + 1}), tmp_path / "out") == 1
    said = capsys.readouterr().out
    assert "10 error(s), 0 warning(s)" in said and "'g0' has videos 3 in train, 2 in test" in said
    assert f"config.data.crop={side + 1} is larger than the stored frames" in said
    table = read_csv(tmp_path / "out" / "check.csv")
    assert set(table["kind"]) == {"group", "pixels", "built"}
    content = json.loads((tmp_path / "out" / "check.json").read_text())
    assert content["schema"] == "aqa_jax.check/1" and content["errors"] == table["level"].count("error")
    (directory / "metadata.json").write_text("{")
    assert data.check(settings(tmp_path)) == 1
    assert "metadata.json cannot be read" in capsys.readouterr().out
