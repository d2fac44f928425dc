"""PD4T: its layouts of videos and frames, and what may be wrong with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from aqa_jax.data.build import build, builder_class, make_config
from aqa_jax.data.splits import carve
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError, DecodeError
from tests.data_builders.pd4t_raw import (
    FOLDERS,
    VIDEOS,
    Video,
    number_of,
    of_task,
    video_path,
    write_csvs,
    write_frames,
    write_mp4s,
    write_raw,
)

DUMMY = Path(__file__).parents[2] / "data_builders" / "pd4t" / "dummy_data"
REAL_VIDEOS = Path(__file__).parents[1] / "data" / "videos"
SMALL = {"height": 24, "width": 32, "jpeg_quality": 95, "check_counts": False}
ALL = {"task": "all", "leak": "exclude"}


def read(raw, data_dir, workers=0, **options):
    return VideoStore.open(build("pd4t", data_dir=data_dir, raw_dir=raw, options=SMALL | options, workers=workers))


def numbers(store, id_):
    row = store.table.row(id_)
    count = int(store.table.column("num_frames")[row])
    return [number_of(image) for image in store.read(row, np.arange(count))]


@pytest.mark.parametrize("layout", ["patient", "side", "side-suffix", "frames"])
def test_every_layout_gives_the_same_table_and_frames(tmp_path, layout):
    raw = tmp_path / "raw"
    write_frames(raw, first=0) if layout == "frames" else write_raw(raw, layout=layout)
    store = read(raw, tmp_path / "data", **ALL)
    table = store.table
    expected = [v for v in VIDEOS if v.split == "test" or v.patient == "001"]
    expected.sort(key=lambda video: video.split == "test")
    assert list(table.column("id")) == [f"{v.task}_{v.name}" for v in expected]
    for column, values in {
        "split": [v.split for v in expected],
        "group": [v.patient for v in expected],
        "task": [v.task for v in expected],
        "side": [v.side for v in expected],
        "score": [v.score for v in expected],
        "num_frames": [v.frames for v in expected],
        "annotated_frames": [v.frames for v in expected],
        "eval_start": [0] * len(expected),
    }.items():
        assert list(table.column(column)) == values, column
    for video in expected:
        assert numbers(store, f"{video.task}_{video.name}") == list(range(video.frames))
    assert store.metadata["layout"] == ("frames" if layout == "frames" else "videos")
    assert store.metadata["score_range"] == [0.0, 4.0] and store.metadata["traps"]["frame_counts_differ"] == []
    assert store.metadata["traps"]["not_annotated"] == []


def test_one_task_of_many(tmp_path):
    write_raw(tmp_path / "PD4T" / "PD4T", of_task("gait"))
    store = read(tmp_path, tmp_path / "data")
    assert list(store.table.column("id")) == ["gait_14-005197_001", "gait_14-005690_002", "gait_15-002976_003"]
    assert list(store.table.column("side")) == ["", "", ""]
    assert store.directory.parent.name.startswith("gait-")


def test_named_configs_are_those_of_the_tfds_command():
    builder = builder_class("pd4t")
    assert [(c.name, c.task, c.height, c.width) for c in builder.BUILDER_CONFIGS] == [
        (name, name, 256, 455) for name in ("gait", "finger", "hand", "leg", "all")
    ]
    assert make_config(builder, {"task": "hand"}) is builder.BUILDER_CONFIGS[2]
    changed = make_config(builder, {"task": "all", "leak": "exclude", "check_counts": "false"})
    assert changed.name.startswith("all-") and (changed.task, changed.check_counts) == ("all", False)
    assert make_config(builder, {"leak": "exclude"}).task == "gait"


@pytest.mark.parametrize("option", ["task", "layout", "leak"])
def test_impossible_options(tmp_path, option):
    write_raw(tmp_path / "raw", of_task("gait"))
    with pytest.raises(ConfigError, match=f"option {option}: 'legs' is not one of "):
        read(tmp_path / "raw", tmp_path / "data", **{option: "legs"})


def test_decoded_frames_count_and_others_are_on_record(tmp_path, capfd):
    videos = [*of_task("gait"), Video("gait", "train", "13-000001", "", "005", 403, 1)]
    write_raw(tmp_path / "raw", videos)
    write_csvs(tmp_path / "raw", [video._replace(frames=video.frames + 3) for video in videos])
    store = read(tmp_path / "raw", tmp_path / "data")
    assert list(store.table.column("num_frames")) == [14, 9, 403, 12]
    assert numbers(store, "gait_13-000001_005") == list(range(403))
    differ = store.metadata["traps"]["frame_counts_differ"]
    assert differ[2] == {"id": "gait_13-000001_005", "annotated": 406, "decoded": 403} and len(differ) == 4
    assert store.metadata["severity"]["gait"]["frames"] == [[14, 14], [403, 403], [9, 9], [12, 12], None]
    assert store.metadata["severity_annotated"]["gait"]["frames"] == [[17, 17], [406, 406], [12, 12], [15, 15], None]
    said = capfd.readouterr().err
    assert "numbers of frames than annotated, kept: 4 of 4: gait_14-005197_001 (17 annotated, 14 decoded)" in said


def test_frames_are_resized(tmp_path):
    write_raw(tmp_path / "raw", of_task("gait"))
    store = read(tmp_path / "raw", tmp_path / "data", height=48, width=20)
    assert store.read(0, np.array([3])).shape == (1, 48, 20, 3)
    assert numbers(store, "gait_14-005197_001") == list(range(14))


def test_a_video_nobody_lists_is_reported(tmp_path, capfd):
    write_raw(tmp_path / "raw", of_task("finger"))
    extra = tmp_path / "raw" / "Videos" / "Finger tapping" / "009" / "11-111111_l.mp4"
    extra.parent.mkdir()
    shutil.copy(video_path(tmp_path / "raw", VIDEOS[3], "patient"), extra)
    store = read(tmp_path / "raw", tmp_path / "data", task="finger", exclude=["finger_14-005197_r_001"])
    assert store.metadata["traps"]["not_annotated"] == ["Finger tapping/009/11-111111_l.mp4"]
    assert store.metadata["traps"]["excluded"] == ["finger_14-005197_r_001"]
    assert "finger_14-005197_r_001" not in store.table.column("id") and len(store.table) == 3
    said = capfd.readouterr().err
    assert "not annotated, left out: 1: Finger tapping/009/11-111111_l.mp4" in said
    assert "excluded: finger_14-005197_r_001" in said


def test_rows_without_a_video_are_all_named(tmp_path):
    write_raw(tmp_path / "raw", of_task("finger"))
    for video in VIDEOS[4:6]:
        video_path(tmp_path / "raw", video, "patient").unlink()
    with pytest.raises(DataError) as error:
        read(tmp_path / "raw", tmp_path / "data", task="finger")
    assert "2 of 4 have no video" in str(error.value) and "option exclude" in str(error.value)
    for id_, line in {"finger_14-005197_r_001": 2, "finger_15-002976_l_003": 3}.items():
        assert f"{id_} (" in str(error.value) and f"train.csv, line {line}): no " in str(error.value)
    left = read(
        tmp_path / "raw", tmp_path / "data", task="finger", exclude="finger_14-005197_r_001 finger_15-002976_l_003"
    )
    assert len(left.table) == 2


def test_a_wrong_folder_is_not_two_thousand_lines(tmp_path):
    write_csvs(tmp_path / "raw", of_task("leg"))
    with pytest.raises(DataError, match=r"no folder Videos in .*option videos_dir"):
        read(tmp_path / "raw", tmp_path / "data", task="leg")
    write_mp4s(tmp_path / "raw", of_task("gait"))
    with pytest.raises(DataError, match=r"none of the 3 videos of leg is in .*Leg agility: looked for 001/14-005197_l"):
        read(tmp_path / "raw", tmp_path / "data", task="leg")
    (tmp_path / "raw" / "Videos").rename(tmp_path / "raw" / "clips")
    with pytest.raises(DataError, match=r"option videos_dir: no folder .*movies"):
        read(tmp_path / "raw", tmp_path / "data", task="leg", videos_dir="movies")
    write_csvs(tmp_path / "raw", of_task("gait"))
    assert len(read(tmp_path / "raw", tmp_path / "data", videos_dir="clips").table) == 3
    (tmp_path / "raw" / "Annotations").rename(tmp_path / "raw" / "labels")
    with pytest.raises(DataError, match=r"no folder Annotations in .*give a list file: there is no .*gait_train\.txt"):
        read(tmp_path / "raw", tmp_path / "again")
    assert len(read(tmp_path / "raw", tmp_path / "again", videos_dir="clips", annotations_dir="labels").table) == 3


def test_one_file_for_two_patients(tmp_path):
    # By side alone, a visit's number must be one patient's.
    twice = (VIDEOS[3], VIDEOS[3]._replace(patient="004"), *VIDEOS[5:7])
    write_raw(tmp_path / "raw", twice, "side")
    with pytest.raises(DataError, match=r"several videos.*\n  finger_14-005197_l_001 and finger_14-.*_l_004: .*l/14"):
        read(tmp_path / "raw", tmp_path / "data", task="finger")


def test_files_that_are_no_videos_are_all_named(tmp_path):
    write_raw(tmp_path / "raw", of_task("gait"))
    video_path(tmp_path / "raw", VIDEOS[0], "patient").write_bytes(b"")
    video_path(tmp_path / "raw", VIDEOS[2], "patient").write_text("<html>log in</html>")
    with pytest.raises(DataError) as error:
        read(tmp_path / "raw", tmp_path / "data")
    assert "2 of 3 videos cannot be opened" in str(error.value)
    assert "gait_14-005197_001: " in str(error.value) and "gait_15-002976_003: " in str(error.value)


def test_a_damaged_video_leaves_nothing_behind(tmp_path):
    write_raw(tmp_path / "raw", of_task("gait"))
    path = video_path(tmp_path / "raw", VIDEOS[1], "patient")
    shutil.copy(REAL_VIDEOS / "corrupted.mp4", path)
    with pytest.raises(DecodeError, match=r"14-005690\.mp4: damaged: 28 of 50 frames"):
        read(tmp_path / "raw", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_extracted_frames_that_lack_some(tmp_path):
    write_frames(tmp_path, of_task("finger"))
    folder = tmp_path / "frames" / "finger" / "001"
    (folder / "14-005197_l" / "img_00004.jpg").unlink()
    shutil.rmtree(folder / "14-005197_r")
    for path in (tmp_path / "frames" / "finger" / "003" / "15-002976_l").iterdir():
        path.unlink()
    (tmp_path / "frames" / "finger" / "004" / "spare").mkdir(parents=True)
    with pytest.raises(DataError) as error:
        read(tmp_path, tmp_path / "data", task="finger")
    said = str(error.value)
    assert "3 of 4 lack frames" in said and "finger_14-005197_r_001 (" in said
    assert "1 images missing in " in said and "the first img_00004.jpg" in said and "no img_*.jpg in" in said
    names = ["finger_14-005197_l_001", "finger_14-005197_r_001"]
    write_frames(tmp_path / "more", of_task("finger")[2:3])
    shutil.copytree(tmp_path / "more" / "frames", tmp_path / "frames", dirs_exist_ok=True)
    store = read(tmp_path, tmp_path / "data", task="finger", exclude=names)
    assert store.metadata["traps"]["not_annotated"] == [str(tmp_path / "frames" / "finger" / "004" / "spare")]
    assert list(store.table.column("num_frames")) == [8, 13]


def test_list_files_and_prefix_can_be_named(tmp_path):
    write_frames(tmp_path, of_task("gait"))
    (tmp_path / "frames" / "gait").rename(tmp_path / "prefix")
    for split in ("train", "test"):
        (tmp_path / "lists" / f"gait_{split}.txt").rename(tmp_path / f"{split}.list")
    with pytest.raises(DataError, match=r"list files are missing: .*gait_train\.txt, .*train_list and test_list"):
        read(tmp_path, tmp_path / "data", layout="frames")
    names = {"train_list": "train.list", "test_list": "test.list", "frames_dir": "prefix"}
    assert len(read(tmp_path, tmp_path / "data", **names).table) == 3
    with pytest.raises(DataError, match=r"one list file for several .*train\.list; .*\{task\}"):
        read(tmp_path, tmp_path / "data", task="all", **names)


def test_validation_shares_no_patient(tmp_path):
    people = [f"{number:03d}" for number in range(1, 11)]
    videos = [
        Video(task, "train", f"14-{int(p):06d}", "" if task == "gait" else side, p, 3, int(p) % 5)
        for task in ("gait", "finger")
        for p in people
        for side in ("l", "r")[: 1 if task == "gait" else 2]
    ]
    videos += [Video(task, "test", "15-000099", "" if task == "gait" else "l", "099", 3, 0) for task in FOLDERS]
    videos += [v._replace(task=task) for v in videos if v.task == "finger" for task in ("hand", "leg")]
    write_raw(tmp_path / "raw", list(dict.fromkeys(videos)))
    table = read(tmp_path / "raw", tmp_path / "data", task="all").table
    train, validation = carve(table, table.rows("train"), fraction=0.2, seed=1)
    groups = table.column("group")
    assert not set(groups[train]) & set(groups[validation]) and len(set(groups[validation])) == 2
    assert set(table.column("task")[validation]) == set(FOLDERS)


@pytest.mark.parametrize("layout", ["videos", "frames"])
def test_dummy_data(tmp_path, layout):
    store = read(DUMMY, tmp_path, workers=1, layout=layout, **ALL)
    assert len(store.table) == 5 + 4 and store.metadata["layout"] == layout
    assert numbers(store, "hand_15-002976_r_003") == list(range(9))
