import errno
import json
import os

import numpy as np
import pytest

from aqa_jax.errors import DataError, StorageError
from aqa_jax.files import read_csv, read_json, replacing, storage_errors, write_csv, write_json


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_keeps_the_suffix_and_the_folder(tmp_path):
    with replacing(tmp_path / "new" / "plot.png") as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path / "new"
        temporary.write_text("x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plot.png"]


def test_json_takes_numpy_values(tmp_path):
    content = {
        "schema": "s/1",
        "a": np.float32(0.5),
        "b": np.arange(3),
        "c": (np.int64(2), None, True),
        "d": tmp_path,
    }
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json", "s/1") == {
        "schema": "s/1", "a": 0.5, "b": [0, 1, 2], "c": [2, None, True], "d": str(tmp_path)
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[1]", '"s/1"'])
def test_json_of_another_kind_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json (is not JSON|has schema None)"):
        read_json(tmp_path / "a.json", "s/1")


def test_missing_files_say_so(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_json(tmp_path / "a.json", "s/1")
    with pytest.raises(DataError, match="does not exist"):
        read_csv(tmp_path / "a.csv")


def test_damaged_csv_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    for content, message in [
        (b"", "is empty"),
        (b"a,b\n1\n", "row 2: 1 cells under a header of 2"),
        (b"a,b,a\n1,2,3\n", "has the column a twice"),
        (b"\xff\xfe", "UTF-8"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_csv(path)


def test_columns_of_unequal_length_write_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_csv(tmp_path / "a.csv", {"a": [1, 2], "b": [1]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EIO, "the disk fails"), (errno.EROFS, "the disk is read-only")],
)
def test_a_disk_that_fails_is_said_in_words_and_the_old_file_stays(tmp_path, monkeypatch, number, words):
    def failing(file):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match=f"scores.json could not be written: {words}"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_other_errors_of_the_system_keep_their_type():
    with pytest.raises(FileNotFoundError), storage_errors("somewhere"):
        os.stat("/nowhere/at/all")
