"""Raw data with a SHA256SUMS: a build stops at what is another now, and a check lists all of it."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from aqa_jax.check.raw import check_raw
from aqa_jax.check.recorded import check_recorded
from aqa_jax.data import build
from aqa_jax.data.checksums import Checksums, digest
from aqa_jax.data.decode import read_image
from aqa_jax.errors import ChecksumError, DataError
from data_builders.mtl_aqa import frames, render
from tests import jigsaws_rendered
from tests.check.test_raw import OPTIONS, images, write
from tests.data_builders import pd4t_raw

REPO = Path(__file__).parents[2]


def record(folder):
    """As `find . -type f ! -name SHA256SUMS -print0 | xargs -0 sha256sum > SHA256SUMS` in the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "SHA256SUMS"]
    lines = [f"{digest(path)}  ./{path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def change_unnoticed(path):
    """Another picture that is as whole as before: nothing but a checksum can tell."""
    image = read_image(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xdb") + 5] ^= 4
    path.write_bytes(bytes(data))
    assert not np.array_equal(read_image(path), image)


def told(found):
    return [(one.level, one.kind, one.row, one.id) for one in found]


def test_frames_one_of_which_was_changed(tmp_path, capsys):
    raw = write(tmp_path / "raw")
    extra = raw / "frames" / "gait" / "009" / "unlisted"
    extra.mkdir(parents=True)
    shutil.copy(images(raw, "001")[0], extra / "img_00001.jpg")
    record(raw)
    settings = {"data_dir": tmp_path / "data", "raw_dir": raw, "options": OPTIONS, "workers": 0}
    maker = build.make_builder("pd4t", **{name: settings[name] for name in ("data_dir", "raw_dir", "options")})
    assert check_raw(maker, raw) == ([], 3)
    assert "35 of the 35 files of the videos" in capsys.readouterr().out
    build.build("pd4t", **settings)
    shutil.rmtree(tmp_path / "data")

    victim = images(raw, "002")[5]
    change_unnoticed(victim)
    change_unnoticed(extra / "img_00001.jpg")
    lists = raw / "lists" / "gait_test.txt"
    lists.write_text(lists.read_text() + "\n")
    found, _ = check_raw(maker, raw)
    second = "gait_14-005690_002"
    assert sorted(told(found), key=str) == [
        ("error", "checksum", 2, second), ("error", "checksum", None, ""), ("warning", "checksum", None, ""),
    ]  # fmt: skip
    texts = {one.id or Path(one.file).name: one.text for one in found}
    assert texts[second].startswith(f"{victim}: differs from the checksum recorded for it in {raw / 'SHA256SUMS'}: it ")
    assert {"gait_test.txt", "img_00001.jpg"} < set(texts)
    with pytest.raises(ChecksumError, match=rf"^video '{second}': {victim}: differs from the checksum recorded for"):
        build.build("pd4t", **settings)
    assert not list(tmp_path.rglob("*array_record*"))
    # Left out on purpose: the others are built, and the check goes on to say it.
    options = {**OPTIONS, "exclude": [second]}
    build.build("pd4t", **{**settings, "options": options})
    found, _ = check_raw(build.make_builder("pd4t", data_dir=tmp_path / "data", raw_dir=raw, options=options), raw)
    assert [one.level for one in found if "002" in one.file] == ["warning"]

    os.unlink(images(raw, "001")[-1])  # Nobody could know that there was one more.
    with pytest.raises(ChecksumError, match=r"img_\d+\.jpg: recorded in .*SHA256SUMS, but missing"):
        build.build("pd4t", **{**settings, "data_dir": tmp_path / "again", "options": options})
    found = check_recorded(raw, check_videos(raw, options))
    assert ("error", "checksum", 1, "gait_14-005197_001") in told(found)
    (extra / "SHA256SUMS").write_text("no checksum")
    assert "line 1: not as sha256sum writes it" in check_recorded(raw)[0].text


def check_videos(raw, options):
    maker = build.make_builder("pd4t", data_dir=raw.parent, raw_dir=raw, options=options)
    maker.raw_dir = raw
    return maker.raw_videos([])


def test_a_folder_of_videos(tmp_path, capfd):
    raw = tmp_path / "raw"
    shutil.copytree(REPO / "data_builders" / "folder" / "dummy_data", raw)
    record(raw)
    settings = {"data_dir": tmp_path / "data", "raw_dir": raw}
    small = {"options": {"side": 16}, "workers": 0}
    build.build("folder", **settings, **small)
    assert "videos that are what their recorded checksum says: 6 of 6" in capfd.readouterr().err
    shutil.rmtree(tmp_path / "data")
    path = raw / "videos" / "knot_03.mp4"
    path.write_bytes(path.read_bytes() + b"\0\0\0\x10free" + bytes(8))  # harmless, and another file all the same
    found, _ = check_raw(build.make_builder("folder", **settings), raw)
    assert told(found) == [("error", "checksum", 4, "knot_03")]
    with pytest.raises(DataError, match=r"row 4: .*knot_03.mp4: differs from the checksum recorded for it in .*anew"):
        build.build("folder", **settings, **small)
    excluded = {"options": {"side": 16, "exclude": ["knot_03"]}, "workers": 0}
    build.build("folder", **settings, **excluded)
    (raw / "SHA256SUMS").write_text("no checksum")
    with pytest.raises(DataError, match="line 1: not as sha256sum writes it"):
        build.build("folder", **settings, **small)


def test_whoever_reads_a_file_in_a_worker_compares_it(tmp_path):
    """Videos of PD4T and JIGSAWS, and dives: what a worker is given to read says what is recorded."""
    pd4t = tmp_path / "pd4t"
    pd4t_raw.write_raw(pd4t, pd4t_raw.of_task("gait"))
    jigsaws = tmp_path / "jigsaws"
    jigsaws_rendered.write(jigsaws, [name for name in sorted(jigsaws_rendered.LABELS) if "Knot" in name])
    mtl = tmp_path / "mtl"
    shutil.copytree(REPO / "tests" / "data" / "annotations" / "mtl_aqa", mtl / "info")
    dive = mtl / "frames" / "01_01"
    dive.mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(dive / f"{number:03d}.jpg"), np.full((16, 24, 3), 40 * number, np.uint8))
    for name, raw, options, pattern in (
        ("pd4t", pd4t, {"task": "gait", "check_counts": False}, "*.mp4"),
        ("jigsaws", jigsaws, {"task": "Knot_Tying"}, "*.jpg"),
    ):
        victim = sorted(raw.rglob(pattern))[0]
        record(raw)
        victim.write_bytes(victim.read_bytes() + b"\0")
        with pytest.raises(ChecksumError, match=rf"^video '.*': {victim}: differs from the checksum"):
            build.build(name, data_dir=tmp_path / "data", raw_dir=raw, options=options, workers=0)
    record(mtl)
    names = tuple(sorted(path.name for path in dive.iterdir()))
    expected = Checksums(mtl).of_source(dive, names)
    one = render.Dive({"id": "01_01"}, frames.Window(str(dive), names, 0), (16, 24), expected)
    assert len(list(render.render(one)[0])) == 4
    change_unnoticed(dive / "002.jpg")
    with pytest.raises(ChecksumError, match=r"002\.jpg: differs from the checksum"):
        list(render.render(one)[0])
