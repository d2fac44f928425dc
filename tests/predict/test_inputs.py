import io
import os

import pytest

from aqa_jax.errors import DataError
from aqa_jax.predict.inputs import check_file, find_videos, read_difficulties


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.MOV", "notes.txt", "deep/er/c.avi", "deep/raw.yuv", ".hidden.mp4", ".git/d.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_a_folder_is_searched_sorted_and_others_are_listed(folder):
    found = find_videos(folder)
    assert names(found.videos, folder) == ["a.MOV", "b.mp4", "deep/er/c.avi"]
    assert names(found.ignored, folder) == ["deep/raw.yuv", "notes.txt"]


def test_a_folder_whose_own_path_is_hidden_is_searched(tmp_path):
    (tmp_path / ".videos").mkdir()
    (tmp_path / ".videos" / "a.mp4").touch()
    assert len(find_videos(tmp_path / ".videos").videos) == 1


def test_patterns(folder):
    assert names(find_videos(str(folder / "*.mp4")).videos, folder) == ["b.mp4"]
    assert names(find_videos(str(folder / "**" / "*.avi")).videos, folder) == ["deep/er/c.avi"]


def test_a_file_with_pattern_characters_in_its_name_is_that_file(tmp_path):
    (tmp_path / "dive[1].mp4").touch()
    (tmp_path / "dive1.mp4").touch()
    assert names(find_videos(tmp_path / "dive[1].mp4").videos, tmp_path) == ["dive[1].mp4"]


def test_several_inputs_give_each_video_once(folder):
    found = find_videos([folder / "b.mp4", str(folder / "*.mp4"), folder / "deep"])
    assert names(found.videos, folder) == ["b.mp4", "deep/er/c.avi"]


def test_a_named_file_is_taken_whatever_its_suffix(folder):
    found = find_videos([folder / "deep" / "raw.yuv", folder])
    assert "deep/raw.yuv" in names(found.videos, folder)
    assert names(found.ignored, folder) == ["notes.txt"]


def test_nothing_found_says_what_was_there(folder, tmp_path_factory):
    with pytest.raises(DataError, match=r"no video in .*\*\.txt; passed over .*notes\.txt\. Known suffixes: \.3gp"):
        find_videos(str(folder / "*.txt"))
    with pytest.raises(DataError, match="no video in"):
        find_videos(tmp_path_factory.mktemp("empty"))
    with pytest.raises(DataError, match="an empty list"):
        find_videos([])
    with pytest.raises(DataError, match=r"nowhere\.mp4 does not exist, and as a pattern it matches nothing"):
        find_videos(folder / "nowhere.mp4")


def test_difficulties(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("file,score,difficulty\na.mp4,80,3.2\nb.mp4,70,2.8\n")
    assert read_difficulties(path) == {"a.mp4": 3.2, "b.mp4": 2.8}
    for text, message in [
        ("file,score\na,1\n", "lacks the column difficulty; it has file, score"),
        ("file,difficulty\na,\n", "row 2: the difficulty of a is '', not a positive number"),
        ("file,difficulty\na,nan\n", "not a positive number"),
        ("file,difficulty\na,-1\n", "not a positive number"),
        ("file,difficulty\na,1\na,2\n", "row 3: a comes twice"),
    ]:
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_difficulties(path)


@pytest.fixture
def listed(folder):
    """A list beside two videos, with a comment, Windows line ends, and a video that is not there."""
    (folder / "list.txt").write_bytes("\ufeff# tuesday\r\nb.mp4\r\n\r\ndeep\r\nmissing.mp4\r\n".encode())
    return folder


@pytest.mark.parametrize("prefix", ["", "@"])
def test_a_list_names_files_and_folders_beside_it_and_what_is_missing_stops_nothing(listed, prefix):
    found = find_videos(f"{prefix}{listed / 'list.txt'}").videos
    assert [str(path.relative_to(listed)) if path.is_absolute() else str(path) for path in found] == [
        "b.mp4", "deep/er/c.avi", "missing.mp4",
    ]  # fmt: skip


def test_paths_come_from_standard_input(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO("b.mp4\ndeep/*/*.avi\n"))
    assert [str(path) for path in find_videos("-").videos] == ["b.mp4", "deep/er/c.avi"]


def test_the_working_folder_counts_before_the_lists(listed, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "b.mp4").touch()
    monkeypatch.chdir(elsewhere)
    assert "b.mp4" in [str(path) for path in find_videos(listed / "list.txt").videos]


def test_what_is_no_list_is_said(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00video")
    with pytest.raises(DataError, match=r"a\.txt is not text"):
        find_videos(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("a\0b\n")
    with pytest.raises(DataError, match=r"b\.txt is not text"):
        find_videos(tmp_path / "b.txt")
    with pytest.raises(DataError, match=r"nowhere\.txt does not exist: a list of videos"):
        find_videos("@nowhere.txt")
    (tmp_path / "c.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="no video in"):
        find_videos(tmp_path / "c.txt")


def test_what_is_no_ordinary_file_is_named_and_never_opened(folder, monkeypatch):
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "deep" / "pipe.mp4")
    (folder / "deep" / "broken.mp4").symlink_to("nowhere")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder / 'pipe'}\n{folder / 'deep'}\n{folder / 'b.mp4'}\n"))
    found = find_videos("-").videos
    assert names(found, folder) == ["b.mp4", "deep/broken.mp4", "deep/er/c.avi", "deep/pipe.mp4", "pipe"]
    said = []
    for path in found:
        try:
            check_file(path)
        except DataError as error:
            said.append(str(error).removeprefix(f"{folder}/"))
    no_file = "a device, pipe or socket, no video file"
    assert said == ["deep/broken.mp4: no such file", f"deep/pipe.mp4: {no_file}", f"pipe: {no_file}"]


def test_what_an_earlier_call_drew_is_no_input(folder):
    (folder / "deep" / "videos").mkdir()
    (folder / "deep" / "videos" / "annotated.mp4").touch()
    found = find_videos([folder, folder / "deep" / "er" / "c.avi"], results=folder / "deep")
    assert names(found.videos, folder) == ["a.MOV", "b.mp4", "deep/er/c.avi"]
