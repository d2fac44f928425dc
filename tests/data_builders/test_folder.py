"""A folder of anybody's videos: what its table may look like, what is wrong with it, and who is tested."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.data.build import build, builder_class, make_config
from aqa_jax.data.decode import write_video
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.predict.video_clips import choose_frames
from configs import folder as folder_config
from configs import folder_pecop
from data_builders.folder import table as folder_table

DUMMY = Path(__file__).parents[2] / "data_builders" / "folder" / "dummy_data"
DAMAGED = Path(__file__).parents[1] / "data" / "videos" / "corrupted.mp4"
SMALL = {"side": 16, "min_frames": 0}


def read(raw, data_dir, **options):
    directory = build("folder", data_dir=data_dir, raw_dir=raw, options=SMALL | options, workers=0)
    return VideoStore.open(directory)


def video(path, frames=4, size=(16, 24)):
    """Frame k is grey, 20 k bright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, (np.full((*size, 3), 20 * k, np.uint8) for k in range(frames)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten videos, v0 to v9."""
    raw = tmp_path_factory.mktemp("raw")
    for k in range(10):
        video(raw / "clips" / f"v{k}.mp4")
    return raw


def table(raw, text, encoding="utf-8"):
    (raw / "labels.csv").write_bytes(text.encode(encoding))
    return raw


def splits(store):
    found = {}
    for id_, split in zip(store.table.column("id"), store.table.column("split"), strict=True):
        found.setdefault(split, []).append(id_)
    return found


def test_the_folder_that_comes_with_the_builder(tmp_path, capfd):
    store = read(DUMMY, tmp_path)
    columns = {name: list(store.table.column(name)) for name in ("id", "group", "score", "split", "num_frames")}
    by_id = {row[0]: row[1:] for row in zip(*columns.values(), strict=True)}
    with open(DUMMY / "labels.csv") as file:
        truth = {row["id"]: row for row in csv.DictReader(file)}
    assert set(by_id) <= set(truth) and store.frame_size == (16, 21)
    for id_, (group, score, split, frames) in by_id.items():
        assert group == truth[id_]["subject"] and frames == 9 + int(id_[-2:])
        assert (split == "unlabelled") == (truth[id_]["score"] == "")
        assert np.isnan(score) if split == "unlabelled" else score == float(truth[id_]["score"])
    tested = {by_id[id_][0] for id_ in splits(store)["test"]}
    assert tested and not tested & {by_id[id_][0] for id_ in by_id if by_id[id_][2] != "test"}
    labelled = [row for row, split in enumerate(store.table.column("split")) if split != "unlabelled"]
    judges = store.table.column("judges")[labelled]
    np.testing.assert_allclose(judges.mean(1), store.table.column("score")[labelled])
    assert "train videos of" in capfd.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [
    "id,score,subject\nv0,1.5,a\nv1,2,Jürgen\nv2,3,c\n",
    "ID;Score;Patient\r\nv0;1,5;a\r\n\r\nv1;2;Jürgen\r\nv2;3;c\r\n",
    "File\tScore\tSubject\nclips\\v0.mp4\t1,5\ta\nV1.MP4\t 2\tJürgen\nclips/v2\t3\tc\n",
])  # fmt: skip
def test_a_table_as_spreadsheets_save_it(folder, tmp_path, text, encoding):
    store = read(table(folder, text, encoding), tmp_path, test_fraction=0)
    assert list(store.table.column("score")) == [1.5, 2, 3] and splits(store).keys() == {"train"}
    assert list(store.table.column("group")) == ["a", "Jürgen", "c"]


def test_a_line_ends_where_a_spreadsheet_ends_it(tmp_path):
    path = table(tmp_path, 'id,score,subject\rv0,1,a\u2028b\r"v\n1",2,a\x0cb\x85c\r\nv2,x,c\n') / "labels.csv"
    found = folder_table.read(path)
    assert [(row.number, row.id, row.subject) for row in found.rows] == [
        (2, "v0", "a\u2028b"), (3, "v\n1", "a\x0cb\x85c"), (4, "v2", "c"),
    ]  # fmt: skip
    assert len(found.problems) == 1 and found.problems[0].startswith("row 4: the score 'x'")


def test_accents_are_the_same_in_either_spelling(folder, tmp_path):
    video(folder / "clips" / "Mu\u0308ller 1.mp4")
    try:
        store = read(table(folder, "file,score\nM\u00fcller 1.mp4,1\nv0,2\n"), tmp_path, test_fraction=0)
    finally:
        (folder / "clips" / "Mu\u0308ller 1.mp4").unlink()
    assert list(store.table.column("id")) == ["M\u00fcller 1", "v0"]


def test_every_problem_at_once_with_its_row(folder, tmp_path):
    (folder / "clips" / "broken.mp4").write_bytes(b"no video" * 100)
    video(folder / "other" / "v3.mp4")
    text = (
        "id,score,subject,split,judges,difficlty\nv0,1,a,train,1|2,\nv0,2,a,train,1|2,\nv1,nan,b,train,1|2,\n"
        "v2,3,,train,1|2,\nv3,1e400,c,train,1|2,\nv4,4,c,tset,1|2,\nmissing,1,c,train,1|2,\n\nv5,5,a,test,1|2,\n"
        "v6,6,e,test,1|2|3,\nclips/v6.mp4,6,e,train,1|x,\nv8,,f,test,,\nv9,1,g,unlabelled,1|2,,9\n"
    )
    try:
        with pytest.raises(DataError) as error:
            read(table(folder, text), tmp_path)
    finally:
        (folder / "other" / "v3.mp4").unlink()
        (folder / "clips" / "broken.mp4").unlink()
    said = str(error.value)
    for expected in (
        "labels.csv: ", "row 1: the column 'difficlty' is not known; is it 'difficulty'?",
        "rows 2 and 3: the id 'v0' is listed more than once", "row 4: the score 'nan' is not a number",
        "row 5: no subject, while other rows have one", "row 6: the score '1e400'", "row 7: the split 'tset'",
        "row 8: no video 'missing'", "row 6: 'v3' may be clips/v3.mp4 or other/v3.mp4",
        "rows 11, 12: another number of judges than the 2", "row 12: the judge's mark 'x'",
        "rows 11 and 12: the same file, clips/v6.mp4", "row 13: a test video needs a score",
        "row 14: more cells than the header",
        "rows 2, 3, 12: training videos of subjects who are tested too (a, e)",
    ):  # fmt: skip
        assert expected in said, expected
    assert not list(tmp_path.rglob("metadata.json"))


@pytest.mark.parametrize(("text", "said"), [
    ("", "is empty"),
    ("name,points\nv0,1\n", "neither a column id nor file, only name, points"),
    ("id,score\n", "a header and no rows"),
    ("id,score,subject\nv0,1,a\nv1,2,a\n", "all 2 labelled videos are of one subject.*split_by=video"),
])  # fmt: skip
def test_tables_that_say_too_little(folder, tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read(table(folder, text), tmp_path)


def test_files_that_are_no_videos_and_damaged_ones_are_named_together(folder, tmp_path):
    """Before any video is stored, and with what helps."""
    (folder / "x.mp4").write_bytes(b"\0no video" * 100)
    shutil.copy(DAMAGED, folder / "y.mp4")
    text = "id,score,split\nx,1,train\nv0,1,train\ny,2,test\nv1,1,test\n"
    try:
        with pytest.raises(DataError, match=r"2 problems.*exclude:\n  row 2: .*x\.mp4.*\n  row 4: .*y\.mp4: damaged: "):
            read(table(folder, text), tmp_path)
        store = read(folder, tmp_path, exclude="x y")
    finally:
        (folder / "x.mp4").unlink()
        (folder / "y.mp4").unlink()
    assert list(store.table.column("id")) == ["v0", "v1"] and store.metadata["traps"]["excluded"] == ["x", "y"]
    assert not {"x.mp4", "y.mp4"} & set(store.metadata["traps"]["not_in_table"])


def lines(rows):
    return "id,score,subject\n" + "".join(f"v{k},{'' if k == 9 else k},{who}\n" for k, who in rows)


def test_the_split_is_by_subject_and_does_not_depend_on_the_order(folder, tmp_path, capfd):
    rows = [(k, "abcde"[k // 2]) for k in range(10)]
    drawn = []
    for order in (rows, rows[::-1]):
        store = read(table(folder, lines(order)), tmp_path, test_fraction=0.3, split_seed=4)
        drawn.append({split: sorted(ids) for split, ids in splits(store).items()})
    assert drawn[0] == drawn[1] and len(drawn[0]["test"]) in (2, 3)
    other = read(table(folder, lines(rows)), tmp_path, test_fraction=0.3, split_seed=5)
    assert sorted(splits(other)["test"]) != drawn[0]["test"]
    # The unlabelled video of a tested subject is in no split.
    capfd.readouterr()
    rows = [(8, "a"), (9, "a"), (0, "b"), (1, "b"), (2, "b"), (3, "b"), (4, "b"), (5, "b"), (6, "b")]
    store = read(table(folder, lines(rows)), tmp_path, test_fraction=0.1)
    assert splits(store)["test"] == ["v8"] and "v9" not in store.table.column("id")
    assert "unlabelled videos of tested subjects, left out: 1" in capfd.readouterr().err
    assert store.metadata["traps"]["left_out_for_the_leak"] == ["v9"]


def test_without_a_table_everything_is_unlabelled(tmp_path):
    for k in range(4):
        video(tmp_path / "raw" / f"patient{k}" / "take.mp4")
    store = read(tmp_path / "raw", tmp_path / "data", table="none")
    assert sorted(store.table.column("group")) == [f"patient{k}" for k in range(4)]
    assert splits(store).keys() == {"unlabelled", "test"} and np.isnan(store.table.column("score")).all()
    # One folder for all says nothing of whose they are.
    for k in range(1, 4):
        shutil.move(tmp_path / "raw" / f"patient{k}" / "take.mp4", tmp_path / "raw" / "patient0" / f"take{k}.mp4")
    groups = read(tmp_path / "raw", tmp_path / "data", table="none").table.column("group")
    assert sorted(groups) == ["patient0/take", *(f"patient0/take{k}" for k in range(1, 4))]
    with pytest.raises(DataError, match=r"should hold one csv file.*there is none.*table=none"):
        read(tmp_path / "raw", tmp_path / "data")


def test_another_folder_table_or_video_is_another_dataset(tmp_path):
    shutil.copytree(DUMMY, tmp_path / "a" / "mine")
    shutil.copytree(DUMMY, tmp_path / "b" / "mine")
    raw, data = tmp_path / "a" / "mine", tmp_path / "data"
    first = read(raw, data).directory
    assert read(raw, data).directory == first and first.parent.name.startswith("mine-")
    assert read(tmp_path / "b" / "mine", data).directory == first  # the same content
    text = (raw / "labels.csv").read_text()
    (raw / "labels.csv").write_text(text.replace("4,anna,3.5", "5,anna,3.5"))
    second = read(raw, data).directory
    assert second != first
    video(raw / "videos" / "knot_03.mp4", frames=9)
    third = read(raw, data)
    assert third.directory not in (first, second)
    assert third.table.column("num_frames")[third.table.row("knot_03")] == 9
    # Without the raw folder one dataset of that name would do, but there are three.
    shutil.rmtree(raw)
    with pytest.raises(DataError, match="needs raw data"):
        read(raw, data)
    for directory in (second, third.directory):
        shutil.rmtree(directory.parent)
    assert read(raw, data).directory == first


def test_short_videos_are_stretched_as_a_file_is_when_it_is_scored(folder, tmp_path):
    video(folder / "clips" / "long.mp4", frames=12)
    store = read(table(folder, "id,score\nv0,1\nlong,2\n"), tmp_path, min_frames=8, test_fraction=0)
    assert dict(zip(store.table.column("id"), store.table.column("stretched_from"), strict=True)) == {
        "v0": 4,
        "long": 0,
    }
    assert list(store.table.column("num_frames")) == [8, 12]
    shown = store.read(store.table.row("v0"), np.arange(8)).mean((1, 2, 3))
    window = ClipWindow(8, 8, (0,), 0, spread=True)
    np.testing.assert_allclose(shown, 20 * choose_frames(4, window)[0][0], atol=3)
    half = read(folder, tmp_path, fps=12.5, test_fraction=0)  # of 25
    row = half.table.row("long")
    np.testing.assert_allclose(half.read(row, np.arange(6)).mean((1, 2, 3)), 20 * np.arange(0, 12, 2), atol=3)
    assert half.table.column("num_frames")[row] == 6
    (folder / "clips" / "long.mp4").unlink()


def test_frames_are_stored_in_the_shape_of_most(tmp_path, capfd):
    for k, size in enumerate([(40, 24), (80, 48), (40, 24), (24, 40)]):
        video(tmp_path / "raw" / f"v{k}.mp4", size=size)
    (tmp_path / "raw" / "own.csv").write_text("file,score\n" + "".join(f"v{k}.mp4,{k}\n" for k in range(4)))
    store = read(tmp_path / "raw", tmp_path / "data", side=12)
    assert store.frame_size == (20, 12)
    assert "videos of another shape than most, squeezed or stretched to it: 1" in capfd.readouterr().err
    assert read(tmp_path / "raw", tmp_path / "data", height=8, width=10).frame_size == (8, 10)


@pytest.mark.parametrize(("options", "said"), [
    ({"leak": "ask"}, "option leak: 'ask' is not one of refuse, allow"),
    ({"split_by": "day"}, "option split_by: 'day' is not one of subject, video"),
    ({"test_fraction": 1.0}, "option test_fraction: 1 is not between 0 and 1"),
    ({"exclude": ["v99"]}, "option exclude: no videos v99; ids look like 'knot_01'"),
    ({"height": 8}, "height and width go together"),
])  # fmt: skip
def test_impossible_options(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        read(DUMMY, tmp_path, **options)
    assert make_config(builder_class("folder"), {}).options()["side"] == 256


@pytest.mark.parametrize("size", folder_config.SIZES)
def test_the_configs_fit_each_other_and_what_is_stored(size):
    score, pretrain = (config_lib.resolve(module.get_config(size)) for module in (folder_config, folder_pecop))
    least = builder_class("folder").BUILDER_CONFIGS[0].options()["min_frames"]
    assert score.data.window == least and pretrain.data.clip_length <= least
    assert config_lib.all_options(score.data) == config_lib.all_options(pretrain.data)
    for key in ("builder", "crop", "normalisation"):
        assert getattr(score.data, key) == getattr(pretrain.data, key)
    for key in ("dialect", "width", "weights"):
        assert getattr(score.model, key) == getattr(pretrain.model, key)
    assert (pretrain.data.training_split, score.data.training_split) == ("all", "train")
    with pytest.raises(ConfigError, match="'tiny'; this config knows small, i3d"):
        folder_config.get_config("tiny")
