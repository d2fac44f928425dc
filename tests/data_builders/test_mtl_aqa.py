"""MTL-AQA from its real annotations, with pictures made for their keys."""

import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from aqa_jax import safe_pickle
from aqa_jax.check.raw import check_annotations
from aqa_jax.data.build import build, make_builder
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import DataError, DecodeError, UnsafePickleError

REAL = Path(__file__).parents[1] / "data" / "annotations" / "mtl_aqa"
MUSDL = "augmented_final_annotations_dict.pkl"
CORE = "final_annotations_dict_with_dive_number.pkl"
ORIGINAL = "final_annotations_dict.pkl"
FEW = {"train": [(1, 2), (4, 49), (26, 5)], "test": [(1, 1), (2, 1)]}
SMALL = {"height": 18, "width": 32, "jpeg_quality": 95}


def image(number):
    return np.full((36, 64, 3), (number % 50 * 5, number // 50 % 50 * 5, 60), np.uint8)


def number_of(frame):
    red, green = np.round(frame[4, 4, :2] / 5).astype(int)
    return int(green * 50 + red)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """120 numbered pictures, which the tests link to instead of writing their own."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(120):
        cv2.imwrite(str(folder / f"{number:08d}.jpg"), image(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    return folder


@pytest.fixture(scope="session")
def annotations():
    return safe_pickle.load(REAL / MUSDL)


def write_info(folder, annotations, splits, name=MUSDL, protocol=2):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(annotations, protocol))
    for split, keys in splits.items():
        (folder / f"{split}_split_0.pkl").write_bytes(pickle.dumps(keys, protocol))


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def few_dives(raw, annotations, pictures, **changes):
    """Five dives in MUSDL's layout; `changes` replace values of the dive 26_05."""
    dives = {key: dict(annotations[key]) for keys in FEW.values() for key in keys}
    dives[26, 5].update(changes)
    write_info(raw / "info", dives, FEW)
    for video, dive in dives:
        for number in range(112):
            link(
                pictures / f"{number:08d}.jpg",
                raw / "frames" / f"{video:02d}_{dive:02d}" / f"{number:03d}.jpg",
            )
    return dives


def read(raw, data_dir, **options):
    return VideoStore.open(build("mtl_aqa", data_dir=data_dir, raw_dir=raw, options=SMALL | options, workers=0))


def test_everything_from_the_real_annotations(tmp_path, pictures, annotations, capfd):
    raw = tmp_path / "raw"
    shutil.copytree(REAL, raw / "info")
    for number in range(2):
        link(pictures / f"{number:08d}.jpg", raw / "frames" / "shared" / f"{number}.jpg")
    for video, dive in annotations:
        (raw / "frames" / f"{video:02d}_{dive:02d}").symlink_to(raw / "frames" / "shared")
    options = SMALL | {"window": 2, "margin": 0}
    store = VideoStore.open(build("mtl_aqa", data_dir=tmp_path / "data", raw_dir=raw, options=options, workers=2))
    table = store.table
    train, test = table.rows("train"), table.rows("test")
    assert (len(train), len(test)) == (1059, 353)
    ids = table.column("id")
    assert len(set(ids)) == 1412 and not set(ids[train]) & set(ids[test])
    assert set(table.column("group")) == {f"{v:02d}" for v in (1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 14, 17, 18, 22, 26)}
    assert [ids[0], ids[1059]] == ["18_67", "26_04"]

    score, difficulty = table.column("score"), table.column("difficulty")
    middle = np.sort(table.column("judges"), axis=1)[:, 2:5].sum(1)
    assert spearmanr(difficulty[test], score[test]).statistic == pytest.approx(0.5595, abs=5e-5)
    assert spearmanr(middle[test], score[test]).statistic == pytest.approx(0.8715, abs=5e-5)
    assert spearmanr((middle * difficulty)[test], score[test]).statistic == pytest.approx(0.9998, abs=5e-5)
    assert (score[train].mean(), score[train].std()) == pytest.approx((67.40, 16.50), abs=5e-3)

    traps = store.metadata["traps"]
    assert traps["corrected_judges"] == [{"id": "04_49", "judge": 3, "from": 45.0, "to": 4.5}]
    assert table.column("judges")[table.row("04_49")].max() == 5.0
    wrong = traps["inconsistent_scores"]
    assert len(wrong) == 27 and sum(dive["split"] == "test" for dive in wrong) == 8
    assert wrong[0] == {"id": "01_70", "split": "train", "score": 18.15, "from_judges": 37.95}
    assert traps["zero_scores"] == ["17_35", "17_164"]
    assert traps["annotated_shorter_than_window"] == 758
    said = capfd.readouterr().err
    assert "corrected: 04_49, judge 3: 45.0 -> 4.5" in said and "27 (8 test): 01_70 (18.15, judges give 37.95)" in said
    assert store.metadata["score_range"] == [0.0, 104.5]


def test_first_images_of_a_dives_folder(tmp_path, pictures, annotations):
    few_dives(tmp_path / "raw", annotations, pictures)
    store = read(tmp_path / "raw", tmp_path / "data")
    np.testing.assert_array_equal(store.table.column("num_frames"), 109)
    np.testing.assert_array_equal(store.table.column("eval_start"), 0)
    frames = store.read(store.table.row("04_49"), np.arange(109))
    assert frames.shape == (109, 18, 32, 3) and [number_of(frame) for frame in frames] == list(range(109))
    row = store.table.row("02_01")
    assert {name: store.table.column(name)[row] for name in ("group", "score", "dive_number")} == {
        "group": "02",
        "score": 88.3,
        "dive_number": "",
    }


def test_other_names_of_a_dives_images(tmp_path, pictures, annotations):
    write_info(tmp_path / "raw" / "info", annotations, {"train": [(1, 2)], "test": [(1, 1)]})
    for dive in ("01_01", "01_02"):
        for number in range(103):
            link(
                pictures / f"{number:08d}.jpg",
                tmp_path / "raw" / "frames_long" / dive / f"{17977 + number:08d}.jpg",
            )
    store = read(tmp_path / "raw", tmp_path / "data")
    np.testing.assert_array_equal(store.table.column("num_frames"), 103)
    assert [number_of(frame) for frame in store.read(0, np.arange(103))] == list(range(103))


@pytest.mark.parametrize(
    ("first", "last", "num_frames", "eval_start"), [(5, 118, 109, 3), (10, 112, 103, 0), (9, 114, 106, 1)]
)
def test_window_cut_from_a_whole_video(tmp_path, pictures, annotations, first, last, num_frames, eval_start):
    # Annotated end 112, counted from 0: the published window is frames 9..111, images numbered 10..112.
    dives = {(1, dive): {**annotations[1, dive], "end_frame": 112} for dive in (1, 2)}
    write_info(tmp_path / "raw" / "info", dives, {"train": [(1, 2)], "test": [(1, 1)]})
    folder = tmp_path / "raw" / "new" / "new_total_frames_256s" / "01"
    for number in range(first, last + 1):
        link(pictures / f"{number:08d}.jpg", folder / f"{number:08d}.jpg")
    store = read(tmp_path / "raw", tmp_path / "data")
    assert store.table.column("num_frames")[0] == num_frames
    assert store.table.column("eval_start")[0] == eval_start
    numbers = [number_of(frame) for frame in store.read(0, np.arange(num_frames))]
    assert numbers[0] == max(first, 7) and np.diff(numbers).tolist() == [1] * (num_frames - 1)
    assert numbers[eval_start : eval_start + 103] == list(range(10, 113))


@pytest.mark.parametrize(("name", "protocol"), [(CORE, 4), (ORIGINAL, 2)])
def test_the_other_annotation_files(tmp_path, pictures, annotations, name, protocol):
    raw = tmp_path / "raw"
    dives = few_dives(raw, annotations, pictures)
    for key, dive in dives.items():
        judges = dive.pop("judge_scores")
        if name == CORE:
            dive["judge_scores"] = [4.5 if judge == 45 else float(judge) for judge in judges]
            dive["dive_number"] = f"{key[1]}C"
    write_info(raw / "info", dives, FEW, name, protocol)
    store = read(raw, tmp_path / "data")
    assert store.metadata["annotation_file"] == (CORE if name == CORE else MUSDL)
    if name == CORE:
        assert store.metadata["traps"]["corrected_judges"] == []
        assert store.table.column("dive_number")[store.table.row("04_49")] == "49C"
        assert store.table.column("judges").shape == (5, 7)
    else:
        bare = read(raw, tmp_path / "data", annotation_file=f"info/{ORIGINAL}")
        assert bare.table.column("judges").shape == (5, 0)
        with pytest.raises(DataError, match="5 of 5 dives have no judge scores, and the option require_judges is set"):
            read(raw, tmp_path / "data", annotation_file=f"info/{ORIGINAL}", require_judges=True)


def test_missing_raw_data(tmp_path, annotations, pictures):
    with pytest.raises(DataError, match=r"mtl_aqa needs raw data: nothing at .*raw"):
        read(tmp_path / "raw", tmp_path / "data")
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match=r"no annotation file in .*raw: looked for"):
        read(tmp_path / "raw", tmp_path / "data")
    few_dives(tmp_path / "raw", annotations, pictures)
    (tmp_path / "raw" / "frames").rename(tmp_path / "raw" / "images")
    with pytest.raises(DataError, match=r"no frames in .*raw: looked for frames/, .*option frames_dir"):
        read(tmp_path / "raw", tmp_path / "data")
    assert len(read(tmp_path / "raw", tmp_path / "data", frames_dir="images").table) == 5
    (tmp_path / "raw" / "info" / "test_split_0.pkl").unlink()
    with pytest.raises(DataError, match=r"no split file .*test_split_0\.pkl"):
        read(tmp_path / "raw", tmp_path / "again")


def test_too_few_frames_names_every_dive_and_can_be_excluded(tmp_path, annotations, pictures):
    raw = tmp_path / "raw"
    few_dives(raw, annotations, pictures)
    shutil.rmtree(raw / "frames" / "01_02")
    for number in range(102, 112):
        (raw / "frames" / "02_01" / f"{number:03d}.jpg").unlink()
    with pytest.raises(
        DataError,
        match=r"2 of 5 dives lack frames in .*: 01_02 \(no folder\), 02_01 \(102 frames\)\. .*exclude",
    ):
        read(raw, tmp_path / "data")
    store = read(raw, tmp_path / "data", exclude=["01_02", "02_01"])
    assert list(store.table.column("id")) == ["04_49", "26_05", "01_01"]
    assert store.metadata["traps"]["excluded"] == ["01_02", "02_01"]
    with pytest.raises(DataError, match="no dives 1_2"):
        read(raw, tmp_path / "data", exclude=["1_2"])


def test_a_gap_in_a_whole_video(tmp_path, pictures, annotations):
    dives = {(1, dive): {**annotations[1, dive], "end_frame": 110} for dive in (1, 2)}
    write_info(tmp_path / "info", dives, {"train": [(1, 2)], "test": [(1, 1)]})
    for number in [*range(1, 60), *range(61, 116)]:
        link(pictures / f"{number:08d}.jpg", tmp_path / "new_total_frames_256s" / "01" / f"{number:08d}.jpg")
    with pytest.raises(DataError, match=r"2 of 2 dives lack frames in .*: 01_01 \(102 frames\), 01_02"):
        read(tmp_path, tmp_path / "data")


def test_a_corrupt_image(tmp_path, annotations, pictures):
    few_dives(tmp_path / "raw", annotations, pictures)
    broken = tmp_path / "raw" / "frames" / "26_05" / "007.jpg"
    data = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(DecodeError, match=r"26_05/007\.jpg: the JPEG is cut short"):
        read(tmp_path / "raw", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_score": float("nan")}, "the score is not a number: 26_05"),
        ({"final_score": None}, "the score is not a number: 26_05"),
        ({"final_score": 10**400}, "the score is not a number: 26_05"),
        ({"difficulty": 0.0}, "the difficulty is not a positive number: 26_05"),
        ({"judge_scores": [5.0] * 6 + [50.0]}, "a judge is outside 0-10: 26_05"),
        ({"judge_scores": [10**400] * 7}, r"26_05: judge_scores is \[10{78}\.\.\., not a list of numbers"),
        ({"end_frame": None}, r"26_05: end_frame is None, not a whole number\nCorrect .* with the option exclude"),
    ],
)
def test_impossible_values(tmp_path, annotations, pictures, changes, message):
    few_dives(tmp_path / "raw", annotations, pictures, **changes)
    for exclude, errors in ([], 1), (["26_05"], 0):
        maker = make_builder(
            "mtl_aqa", data_dir=tmp_path, raw_dir=tmp_path / "raw", options=SMALL | {"exclude": exclude}
        )
        found, _ = check_annotations(maker, tmp_path / "raw")
        assert len([one for one in found if one.level == "error"]) == errors
    with pytest.raises(DataError, match=message):
        read(tmp_path / "raw", tmp_path / "data")
    assert len(read(tmp_path / "raw", tmp_path / "data", exclude=["26_05"]).table) == 4


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"train": [(1, 1), (1, 2)], "test": [(1, 2), (2, 1)]},
            r"more than once in the splits: 01_02 \(train and test\)",
        ),
        ({"train": [(1, 1), (1, 1)], "test": [(2, 1)]}, r"more than once in the splits: 01_01 \(train\)"),
        ({"train": [(1, 1), (30, 1)], "test": [(2, 1)]}, "no annotation for 30_01"),
        ({"train": ["01_01"], "test": [(2, 1)]}, r"'01_01' is not a \(video, dive\) pair"),
    ],
)
def test_impossible_splits(tmp_path, annotations, pictures, splits, message):
    few_dives(tmp_path / "raw", annotations, pictures)
    write_info(tmp_path / "raw" / "info", annotations, splits)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "raw", tmp_path / "data")


def test_a_pickle_is_never_executed(tmp_path):
    write_info(tmp_path / "info", {}, FEW)
    (tmp_path / "info" / MUSDL).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/executed'\ntR.")
    with pytest.raises(UnsafePickleError, match="system"):
        read(tmp_path, tmp_path / "data")
    assert not (tmp_path / "executed").exists()


def test_dummy_data(tmp_path):
    dummy = Path(__file__).parents[2] / "data_builders" / "mtl_aqa" / "dummy_data"
    store = read(dummy, tmp_path, window=8, margin=4)
    assert list(store.table.column("id")) == ["01_01", "02_01", "01_02", "02_02"]
    np.testing.assert_array_equal(store.table.column("num_frames"), 12)
    assert not store.metadata["traps"]["inconsistent_scores"]
