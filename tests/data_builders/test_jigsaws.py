"""JIGSAWS from its real labels and folds, with pictures made for its trials."""

import os
import pickle
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from aqa_jax import safe_pickle
from aqa_jax.data.build import build
from aqa_jax.data.decode import write_video
from aqa_jax.data.splits import held_out
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError, DecodeError, UnsafePickleError
from data_builders.jigsaws import folds, gestures

REAL = Path(__file__).parents[1] / "data" / "annotations" / "jigsaws"
DUMMY = Path(__file__).parents[2] / "data_builders" / "jigsaws" / "dummy_data"
SMALL = {"height": 24, "width": 32, "jpeg_quality": 95}
LABELS = safe_pickle.load(REAL / "label.pkl")
FOLDS = safe_pickle.load(REAL / "splits.pkl")
FEW = ("Suturing_B001", "Suturing_B002", "Suturing_C001", "Needle_Passing_B001", "Knot_Tying_B001")


def frame(number):
    return np.full((24, 32, 3), 10 * number, np.uint8)


def numbers(store, id_):
    row = store.table.row(id_)
    frames = store.read(row, np.arange(int(store.table.column("num_frames")[row])))
    return np.round(frames.mean((1, 2, 3)) / 10).astype(int).tolist()


def read(raw, data_dir, workers=0, **options):
    return VideoStore.open(build("jigsaws", data_dir=data_dir, raw_dir=raw, options=SMALL | options, workers=workers))


def write_images(folder, count=4, pattern="{:05d}.jpg"):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / pattern.format(number)), frame(number), [cv2.IMWRITE_JPEG_QUALITY, 95])


def write_musdl(raw, ids=FEW, labels=None, lists=None):
    """MUSDL's preparation of a few trials; each video of capture 2 is a frame longer."""
    (raw / "info").mkdir(parents=True)
    labels = {id_: LABELS[id_] for id_ in ids} if labels is None else labels
    lists = (
        {task: [[i for i in fold if i in ids] for fold in FOLDS[task]] for task in FOLDS} if lists is None else lists
    )
    (raw / "info" / "label.pkl").write_bytes(pickle.dumps(labels, 2))
    (raw / "info" / "splits.pkl").write_bytes(pickle.dumps(lists, 2))
    for id_ in ids:
        for capture in (1, 2):
            write_images(raw / "frames" / f"{id_}_capture{capture}", 3 + capture)


def write_release(raw, ids=FEW, captures=(1, 2)):
    """The original release: avi files and meta files, whose lines have tabs and blank ones between."""
    lines = {}
    for id_ in ids:
        task = id_.rsplit("_", 1)[0]
        (raw / task / "video").mkdir(parents=True, exist_ok=True)
        for capture in captures:
            path = raw / task / "video" / f"{id_}_capture{capture}.avi"
            write_video(path, np.stack([frame(number) for number in range(3 + capture)]), 30)
        items = LABELS[id_]
        lines.setdefault(task, []).append(f"{id_}\t\tN\t{sum(items)}\t" + "\t".join(map(str, items)) + "\n\n")
    for task, some in lines.items():
        (raw / task / f"meta_file_{task}.txt").write_text("".join(some))


def test_every_trial_of_the_real_labels(tmp_path):
    raw = tmp_path / "JIGSAWS"
    shutil.copytree(REAL, raw / "data" / "info")
    write_images(raw / "data" / "frames" / "shared", 2)
    for id_ in LABELS:
        (raw / "data" / "frames" / f"{id_}_capture1").symlink_to(raw / "data" / "frames" / "shared")
    store = read(raw, tmp_path / "data", workers=2)
    table = store.table
    assert Counter(table.column("task")) == {"Suturing": 39, "Needle_Passing": 28, "Knot_Tying": 36}
    assert set(table.column("split")) == {"train"} and store.metadata["folds_from"] == "data/info/splits.pkl"
    ids = table.column("id")
    assert set(ids) == set(LABELS)
    for row, id_ in enumerate(ids):
        assert table.column("judges")[row].tolist() == LABELS[id_]
        assert table.column("score")[row] == sum(LABELS[id_])
        assert id_ == f"{table.column('task')[row]}_{table.column('group')[row]}{table.column('trial')[row]:03d}"
    assert store.metadata["traps"] == {
        "total_is_not_the_sum": [], "in_no_fold": [], "excluded": [], "not_labelled": [], "no_transcription": [],
        "transcription_without_trial": [], "gestures_beyond_the_video": [],
    }  # fmt: skip
    assert store.metadata["gestures_from"] == [] and set(table.column("gestures")) == {""}
    columns = store.metadata["protocols"]
    assert columns == {"fourfold": "fold", "loso": "trial", "louo": "group"}
    # MUSDL's folds, then the partitions by trial and by surgeon.
    for task, lists in FOLDS.items():
        rows = np.flatnonzero(table.column("task") == task)
        for number, trials in enumerate(lists):
            train, test = held_out(table, rows, f"fold={number}")
            assert set(ids[test]) == set(trials) and len(train) + len(test) == len(rows)
        for name, values in (("loso", "12345"), ("louo", sorted(set(table.column("group")[rows])))):
            tests = []
            for value in values:
                train, test = held_out(table, rows, f"{columns[name]}={value}")
                left_out, others = (set(table.column(columns[name])[some].astype(str)) for some in (test, train))
                assert left_out == {value} and not left_out & others and len(train) + len(test) == len(rows)
                tests.append(test)
            assert sorted(np.concatenate(tests)) == rows.tolist()
    assert sorted(set(table.column("group"))) == list("BCDEFGHI")


def test_the_folds_kept_here_are_musdls():
    assert folds.published() == {
        id_: number for lists in FOLDS.values() for number, fold in enumerate(lists) for id_ in fold
    }


@pytest.mark.parametrize("write", [write_musdl, write_release])
def test_both_layouts_and_both_captures(tmp_path, write, capfd):
    write(tmp_path / "raw")
    left = read(tmp_path / "raw", tmp_path / "data")
    # Task by task, then by surgeon.
    assert list(left.table.column("id")) == list(FEW)
    assert [numbers(left, id_) for id_ in FEW] == [[0, 1, 2, 3]] * 5
    right = read(tmp_path / "raw", tmp_path / "data", capture=2, task="Knot_Tying")
    assert numbers(right, "Knot_Tying_B001") == [0, 1, 2, 3, 4] and len(right.table) == 1
    level, fold = left.table.column("level"), left.table.column("fold")
    assert set(level) == ({"N"} if write is write_release else {""})
    assert fold.tolist() == [0, 3, 3, 2, 0]
    said = "MUSDL, as published" if write is write_release else "info/splits.pkl"
    assert left.metadata["folds_from"] == said and f"folds from {said}" in capfd.readouterr().err


def test_both_sources_together(tmp_path):
    write_musdl(tmp_path)
    write_release(tmp_path)
    store = read(tmp_path, tmp_path / "data")
    assert set(store.table.column("level")) == {"N"} and "info/label.pkl, Suturing/" in store.metadata["labels_from"]
    path = tmp_path / "Suturing" / "meta_file_Suturing.txt"
    path.write_text("Suturing_B002 E 30 5 5 5 5 5 5\n")
    with pytest.raises(
        DataError, match=r"1 trials have other items in .*label\.pkl.*\n  Suturing_B002: \[.*\] and \[5, 5"
    ):
        read(tmp_path, tmp_path / "again")


def test_what_is_kept_is_reported(tmp_path, capfd):
    write_release(tmp_path, ("Suturing_B001", "Suturing_B002", "Suturing_D005"))
    extra = tmp_path / "Suturing" / "video" / "Suturing_H002_capture1.avi"
    shutil.copy(tmp_path / "Suturing" / "video" / "Suturing_B001_capture1.avi", extra)
    path = tmp_path / "Suturing" / "meta_file_Suturing.txt"
    total = sum(LABELS["Suturing_B001"])
    text = path.read_text().replace(f"B001\t\tN\t{total}", f"B001\t\tI\t{total + 1}").replace("D005", "Z009")
    path.write_text(text)
    for capture in (1, 2):
        video = tmp_path / "Suturing" / "video" / f"Suturing_D005_capture{capture}.avi"
        video.rename(video.with_name(video.name.replace("D005", "Z009")))
    store = read(tmp_path, tmp_path / "data", task="Suturing", exclude=["Suturing_B002"])
    table = store.table
    assert list(table.column("id")) == ["Suturing_B001", "Suturing_Z009"]
    assert table.column("score")[0] == total + 1 and table.column("fold").tolist() == [0, -1]
    assert store.metadata["traps"] == {
        "total_is_not_the_sum": [{"id": "Suturing_B001", "total": total + 1, "sum": total}],
        "in_no_fold": ["Suturing_Z009"],
        "excluded": ["Suturing_B002"],
        "not_labelled": ["Suturing_H002"],
        "no_transcription": [],
        "transcription_without_trial": [],
        "gestures_beyond_the_video": [],
    }
    said = capfd.readouterr().err
    assert "videos without a label, left out: Suturing_H002" in said and f"({total + 1}, items give {total})" in said


def write_gestures(raw, **texts):
    for id_, text in texts.items():
        path = raw / id_.rsplit("_", 1)[0] / "transcriptions" / f"{id_}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_gestures_are_kept_and_their_gaps_reported(tmp_path, capfd):
    write_release(tmp_path)
    # As the release has them: blanks at the ends of lines. The videos have four frames.
    late = "1 3 G1 \n\n3 7 G11 \n"
    write_gestures(tmp_path, Suturing_B001="1 2 G1 \n3 4 G5 \n", Suturing_C001=late, Suturing_H002="1 2 G1\n")
    store = read(tmp_path, tmp_path / "data")
    told = [gestures.from_text(store.table.column("gestures")[store.table.row(id_)]) for id_ in FEW]
    assert told == [[(1, 2, "G1"), (3, 4, "G5")], [], [(1, 3, "G1"), (3, 7, "G11")], [], []]
    assert store.metadata["gestures_from"] == ["Suturing/transcriptions"]
    found = {name: trap for name, trap in store.metadata["traps"].items() if trap}
    assert found == {
        # Of a task without transcriptions, none is missed.
        "no_transcription": ["Suturing_B002"],
        "transcription_without_trial": ["Suturing_H002"],
        "gestures_beyond_the_video": [{"id": "Suturing_C001", "frames": 4, "gestures": '[[3, 7, "G11"]]'}],
    }
    said = capfd.readouterr().err
    for words in (
        "without a transcription of gestures: Suturing_B002", "of no labelled trial, left out: Suturing_H002",
        'gestures end after the video: 1: Suturing_C001 (4 frames: [[3, 7, "G11"]])',
    ):  # fmt: skip
        assert words in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2", "2 words, where there are three"),
        ("1 2.5 G1", "'1' and '2.5' are not two frame numbers"),
        ("5 2 G1", "ends at frame 2, before it starts at 5"),
        ("1 2 grasp", "the gesture is 'grasp', not G1, G2"),
        ("3 4 G1\n1 2 G2", "starts at frame 1, before the one above"),
    ],
)
def test_faults_of_a_transcription(tmp_path, line, message):
    write_release(tmp_path, FEW[:1], (1,))
    write_gestures(tmp_path, Suturing_B001=line)
    where = r"1 faults in the transcriptions:\n  .*Suturing_B001\.txt, line \d: .*"
    with pytest.raises(DataError, match=where + message):
        read(tmp_path, tmp_path / "data", task="Suturing")


def test_images_in_the_order_of_their_numbers(tmp_path):
    write_musdl(tmp_path, FEW[:1])
    folder = tmp_path / "frames" / "Suturing_B001_capture1"
    shutil.rmtree(folder)
    write_images(folder, 12, "frame{}.jpg")
    assert numbers(read(tmp_path, tmp_path / "data", task="Suturing"), "Suturing_B001") == list(range(12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "suturing"}, "'suturing' is not one of Suturing, Needle_Passing, Knot_Tying, all"),
        ({"capture": 3}, "option capture: 3 is neither 1 nor 2"),
        ({"layout": "avi"}, "'avi' is not one of auto, videos, frames"),
        ({"exclude": ["B001"]}, r"no trials B001 \(ids look like Suturing_B001\)"),
        ({"info_dir": "here"}, r"no label\.pkl in .*here"),
        ({"frames_dir": "here"}, "option frames_dir: no folder .*here"),
    ],
)
def test_impossible_options(tmp_path, options, message):
    write_musdl(tmp_path, FEW[:1])
    with pytest.raises((ConfigError, DataError), match=message):
        read(tmp_path, tmp_path / "data", **options)


def test_missing_videos_are_all_named(tmp_path):
    write_musdl(tmp_path)
    shutil.rmtree(tmp_path / "frames" / "Suturing_B002_capture1")
    shutil.rmtree(tmp_path / "frames" / "Knot_Tying_B001_capture1")
    with pytest.raises(DataError, match=r"2 of 5 labelled trials have no video .*: Suturing_B002, Knot_Tying_B001"):
        read(tmp_path, tmp_path / "data")
    store = read(tmp_path, tmp_path / "data", exclude="Suturing_B002 Knot_Tying_B001")
    assert len(store.table) == 3
    for file in (tmp_path / "frames" / "Suturing_C001_capture1").iterdir():
        os.remove(file)
    with pytest.raises(DataError, match=r"1 of 2 videos cannot be read:\n  Suturing_C001: no images"):
        read(tmp_path, tmp_path / "data", task="Suturing", exclude="Suturing_B002")


def test_damaged_files(tmp_path):
    write_release(tmp_path, FEW[:2], (1,))
    path = tmp_path / "Suturing" / "video" / "Suturing_B002_capture1.avi"
    path.write_bytes(b"no video at all")
    with pytest.raises(DataError, match=r"1 of 2 videos cannot be read:\n  Suturing_B002: .*not a video"):
        read(tmp_path, tmp_path / "data", task="Suturing")
    write_musdl(tmp_path / "musdl", FEW[:1])
    image = tmp_path / "musdl" / "frames" / "Suturing_B001_capture1" / "00002.jpg"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(DecodeError, match=r"00002\.jpg: the JPEG is cut short"):
        read(tmp_path / "musdl", tmp_path / "data", task="Suturing")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Suturing_B001 N 13 2 2 2 2 2", "8 words, where there are nine"),
        ("Suturing_B001 X 13 2 2 2 2 2 3", "the level is 'X', not one of N, I, E"),
        ("Suturing_B001 N 31 5 5 5 5 5 5", "the total is '31', not a whole number from 6 to 30"),
        ("Suturing_B001 N 13 2 2 2 2 2 7", "quality of final product is 7, not one of 1, 2, 3, 4, 5"),
        ("Suturing_B001 N 13 2 two 2 2 2 3", "suture/needle handling is 'two'"),
        ("Suturing_001 N 13 2 2 2 2 2 3", "'Suturing_001' is not a trial like Suturing_B001"),
        ("Knot_Tying_B001 N 13 2 2 2 2 2 3", "Knot_Tying_B001 is no trial of Suturing"),
        ("Suturing_B001 N 13 2 2 2 2 2 3\nSuturing_B001 N 13 2 2 2 2 2 3", "Suturing_B001 is listed twice"),
    ],
)
def test_faults_of_a_meta_file(tmp_path, line, message):
    (tmp_path / "Suturing").mkdir()
    (tmp_path / "Suturing" / "meta_file_Suturing.txt").write_text(line + "\n")
    where = r"1 faults in the meta files:\n  .*meta_file_Suturing\.txt, line \d: .*"
    with pytest.raises(DataError, match=where + message):
        read(tmp_path, tmp_path / "data", task="Suturing")


@pytest.mark.parametrize(
    ("labels", "lists", "message"),
    [
        ({"Suturing_B001": [1, 2, 3, 4, 5]}, None, "Suturing_B001: 5 items, where there are six"),
        ({"Suturing_B001": [1, 2, 3, 4, 5, 0]}, None, "quality of final product is 0"),
        ({"B001": [1, 2, 3, 4, 5, 5]}, None, "'B001' is not a trial like"),
        ([1, 2], None, "not MUSDL's labels"),
        (None, {"Suturing": [["Suturing_B001"], ["Suturing_B001"]]}, "Suturing_B001 is in fold 0 and in fold 1"),
        (None, {"Suturing": [["Suturing_B009"]]}, r"Suturing_B009 \(fold 0\) has no label"),
        (None, {"Knot_Tying": []}, "no folds of Suturing"),
        (None, [1], "not MUSDL's folds"),
    ],
)
def test_faults_of_the_pickles(tmp_path, labels, lists, message):
    write_musdl(tmp_path, FEW[:1], labels, lists)
    with pytest.raises(DataError, match=message):
        read(tmp_path, tmp_path / "data", task="Suturing")


def test_no_labels_and_no_code_in_a_pickle(tmp_path):
    with pytest.raises(DataError, match=r"neither label\.pkl .* nor Knot_Tying/meta_file_Knot_Tying\.txt"):
        read(tmp_path, tmp_path / "data", task="Knot_Tying")
    write_musdl(tmp_path, FEW[:1])
    (tmp_path / "info" / "label.pkl").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path) + b"/executed'\ntR.")
    with pytest.raises(UnsafePickleError, match="system"):
        read(tmp_path, tmp_path / "data")
    assert not (tmp_path / "executed").exists()


def test_dummy_data(tmp_path):
    store = read(DUMMY, tmp_path, task="Suturing", layout="frames")
    assert list(store.table.column("fold")) == [0, 3] and len(store.table) == 2
    release = read(DUMMY, tmp_path, task="Suturing", layout="videos")
    assert list(release.table.column("level")) == ["N", "N"]
    assert gestures.from_text(release.table.column("gestures")[0]) == [(1, 2, "G1"), (3, 4, "G5")]
    assert [numbers(some, id_) for some in (store, release) for id_ in FEW[:2]] == [[0, 1, 2, 3]] * 4
