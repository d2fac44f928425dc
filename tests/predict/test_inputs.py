import pytest

from aqa_jax.errors import DataError
from aqa_jax.predict.inputs import find_videos, read_difficulties


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
