import json
import pickle
import shutil

import numpy as np
import pytest

from aqa_jax.data import video_store
from aqa_jax.data.decode import decode_jpeg
from aqa_jax.data.records import decode_record, encode_record
from aqa_jax.data.video_store import VideoStore, shard_name
from aqa_jax.errors import DataError, DecodeError

from .toy_videos import render


def expected(video, frames):
    return np.stack([render.frame(video, number) for number in frames])


def test_table(toy):
    table = toy.table
    assert len(table) == 16
    np.testing.assert_array_equal(table.rows("test"), np.arange(11, 16))
    np.testing.assert_array_equal(table.column("num_frames"), [render.num_frames(v) for v in [*range(11), *range(5)]])
    np.testing.assert_array_equal(table.column("difficulty")[:3], [np.nan, 2.1, np.nan])
    np.testing.assert_array_equal(table.column("judges")[:3], [[1, np.nan, np.nan], [1, 2, np.nan], [1, 2, 3]])
    assert table.column("name")[4] == "video 4" and table.row("test-2") == 13
    for wrong in (lambda: table.column("scores"), lambda: table.rows("val"), lambda: table.row("x")):
        with pytest.raises(DataError, match="the dataset has no"):
            wrong()


def test_frames_in_any_order_and_number(toy):
    for row, video in ((0, 0), (7, 7), (13, 2)):
        frames = np.array([39, 0, 8, 7, 8, 16, 39, 1])
        # JPEG's colour conversion rounds.
        np.testing.assert_allclose(toy.read(row, frames), expected(video, frames), atol=3)


def test_crop_flip_and_output_array(toy):
    frames = np.array([5, 3])
    whole = toy.read(4, frames)
    out = np.zeros((2, 10, 12, 3), np.uint8)
    assert toy.read(4, frames, crop=(2, 5, 10, 12), flip=True, out=out) is out
    np.testing.assert_array_equal(out, whole[:, 2:12, 5:17][:, :, ::-1])


def test_bits_are_those_of_the_stored_jpegs(toy):
    first = toy.table.column("first_record")[9]
    jpegs = [jpeg for record in toy._records("train", range(first, first + 5)) for jpeg in decode_record(record)]
    frames = np.array([[30, 0, 7], [8, 30, 31]])
    wanted = np.stack([decode_jpeg(jpegs[frame], "x")[3:20, 1:30, :] for frame in frames.ravel()])
    for flip in (False, True):
        read = toy.read(9, frames.ravel(), crop=(3, 1, 17, 29), flip=flip)
        np.testing.assert_array_equal(read, wanted[:, :, ::-1] if flip else wanted)


def test_impossible_requests(toy):
    with pytest.raises(DataError, match=r"'train-1' has frames 0\.\.40; 0\.\.41 asked for"):
        toy.read(1, np.arange(42))
    with pytest.raises(DataError, match="does not fit"):
        toy.read(1, np.arange(2), crop=(0, 0, 25, 32))


def test_store_travels_to_other_processes(toy):
    other = pickle.loads(pickle.dumps(toy))
    np.testing.assert_array_equal(other.read(3, np.arange(9)), toy.read(3, np.arange(9)))


@pytest.fixture
def copy(toy_dir, tmp_path):
    return shutil.copytree(toy_dir, tmp_path / "1.0.0")


def test_what_is_not_a_whole_dataset_is_refused(copy, tmp_path):
    with pytest.raises(DataError, match=r"no dataset at .*--mode build"):
        VideoStore.open(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"did you mean .*1\.0\.0"):
        VideoStore.open(tmp_path)
    shard = copy / shard_name("toy_videos", "train", 0, 1)
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(DataError, match=f"{len(data) - 1} bytes instead of {len(data)}"):
        VideoStore.open(copy)
    shard.unlink()
    with pytest.raises(DataError, match="is missing"):
        VideoStore.open(copy)
    for text in ("{", "[]", "{}", '{"table": {"id": []}, "frame_size": [1, 1]}'):
        (copy / "metadata.json").write_text(text)
        with pytest.raises(DataError, match="cannot be read"):
            VideoStore.open(copy)


def test_verify_finds_changed_bytes(copy, toy):
    toy.verify()
    shard = copy / shard_name("toy_videos", "train", 0, 1)
    data = bytearray(shard.read_bytes())
    where = data.find(decode_record(toy._records("train", [20])[0])[3])
    data[where + 300] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        VideoStore.open(copy).verify()
    metadata = json.loads((copy / "metadata.json").read_text())
    metadata["table"]["score"][0] += 1
    store = VideoStore(copy, metadata)
    store._records = toy._records
    with pytest.raises(DataError, match="differ from what was built"):
        store.verify()


def test_a_dataset_that_vanishes_is_said_to_be_gone(copy):
    store = VideoStore.open(copy)
    shutil.rmtree(copy)
    with pytest.raises(DataError, match=r"video 'test-0', .*test.* is gone"):
        store.read(11, np.arange(4))


def test_a_record_is_bound_to_its_place(copy, toy):
    """The file's own checksums hold where two videos' records change places, or the file is another build's."""
    shard = copy / shard_name("toy_videos", "train", 0, 1)
    size = shard.stat().st_size
    records = toy._records("train", range(toy.metadata["shards"]["train"][0]["records"]))
    records[0], records[20] = records[20], records[0]
    writer = video_store.RecordWriter(copy, "toy_videos", "train")
    for record in records:
        writer.write(record)
    writer.close()
    assert shard.stat().st_size == size
    store = VideoStore.open(copy)
    with pytest.raises(DataError, match=r"video 'train-0', .*train.* is damaged.*config\.data\.exclude"):
        store.read(0, np.arange(4))
    np.testing.assert_array_equal(store.read(1, np.arange(41)), toy.read(1, np.arange(41)))


def test_metadata_that_were_changed_are_refused_and_one_without_checksums_is_read(copy, toy):
    metadata = json.loads((copy / "metadata.json").read_text())
    for place, key, value in ((metadata["table"]["score"], 4, 9.0), (metadata, "score_range", [0.0, 1.0])):
        before, place[key] = place[key], value
        (copy / "metadata.json").write_text(json.dumps(metadata))
        with pytest.raises(DataError, match="changed after the build"):
            VideoStore.open(copy)
        place[key] = before
    del metadata["checksums"], metadata["metadata_sha256"]  # As earlier versions wrote it.
    (copy / "metadata.json").write_text(json.dumps(metadata))
    store = VideoStore.open(copy)
    store.verify()
    np.testing.assert_array_equal(store.read(0, np.arange(4)), toy.read(0, np.arange(4)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda jpeg: jpeg[: len(jpeg) // 2], "cut short"),
        (lambda jpeg: b"\0" * len(jpeg), "not a JPEG"),
        (lambda jpeg: jpeg[:2] + jpeg[40:], "damaged"),
    ],
)
def test_corrupt_jpeg_names_video_and_frame(toy, monkeypatch, damage, message):
    def records(split, positions):
        record = [bytes(jpeg) for jpeg in decode_record(original(split, positions)[0])]
        record[3] = damage(record[3])
        return [encode_record(record)]

    original = toy._records
    monkeypatch.setattr(toy, "_records", records)
    toy.read(2, np.array([0, 1, 2, 4]))
    with pytest.raises(DecodeError, match=f"video 'train-2', frame 3: .*{message}"):
        toy.read(2, np.arange(8))


def test_shards(tmp_path):
    writer = video_store.RecordWriter(tmp_path, "some", "train", max_bytes=50)
    records = [bytes([i]) * 20 for i in range(10)]
    for record in records:
        writer.write(record)
    shards = writer.close()
    assert writer.lengths == [3, 3, 3, 1] and len(shards) == 4
    columns = {"id": ["a"], "split": ["train"], "first_record": [0], "num_frames": [1]}
    store = VideoStore(tmp_path, {"table": columns, "frame_size": [1, 1], "shards": {"train": shards}})
    assert store._records("train", [9, 0, 2, 3, 8, 5]) == [records[i] for i in (9, 0, 2, 3, 8, 5)]
