"""Raw data before and after a build, and annotation files with every kind of fault."""

import json
import os
import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.check import data
from aqa_jax.check.raw import check_annotations, check_raw
from aqa_jax.data import build
from aqa_jax.data.decode import read_image
from aqa_jax.errors import DecodeError
from tests.data_builders import pd4t_raw

REPO = Path(__file__).parents[2]
OPTIONS = {"task": "gait", "layout": "frames", "check_counts": False, "height": 24, "width": 32}
REAL = REPO / "tests" / "data" / "annotations" / "mtl_aqa"


def write(raw):
    """Three videos whose pixels differ, as their annotations say."""
    pd4t_raw.write_frames(raw, pd4t_raw.of_task("gait"))
    rng = np.random.default_rng(0)
    for path in sorted(raw.glob("frames/gait/*/*/*.jpg")):
        cv2.imwrite(str(path), rng.integers(0, 255, (24, 32, 3), np.uint8))
    return raw


def images(raw, patient):
    return sorted((raw / "frames" / "gait" / patient).glob("*/*.jpg"))


def damaged_inside(path):
    """A JPEG that decodes all the same, and not to what it was."""
    before, data = read_image(path), path.read_bytes()
    for at in range(len(data) // 2, len(data) - 20):
        path.write_bytes(data[:at] + b"\x00\x00\x00" + data[at + 9 :])
        if not np.array_equal(read_image(path), before):
            return
    raise AssertionError("no damage that decodes")


def test_videos_and_what_was_built_from_them(tmp_path, capfd):
    raw = write(tmp_path / "raw")
    settings = {"data_dir": tmp_path / "data", "raw_dir": raw, "options": OPTIONS}
    maker = build.make_builder("pd4t", **settings)
    assert check_raw(maker, raw) == ([], 3)
    build.build("pd4t", **settings, workers=0)
    shutil.copytree(raw, tmp_path / "other")
    capfd.readouterr()
    build.build("pd4t", **{**settings, "raw_dir": tmp_path / "other"}, workers=0)
    assert f"used as it was built, from {raw.resolve()}; {tmp_path / 'other'} is not read" in capfd.readouterr().err
    build.build("pd4t", **settings, workers=0)
    assert capfd.readouterr().err == ""

    cut = images(raw, "001")[3]
    cut.write_bytes(cut.read_bytes()[:200])
    damaged_inside(images(raw, "002")[5])
    images(raw, "003")[-1].unlink()
    test_list = raw / "lists" / "gait_test.txt"
    test_list.write_text(test_list.read_text().replace(" 3 12 ", " 2 12 "))
    config = config_lib.default_config()
    options = ",".join(f"{name}={value}" for name, value in OPTIONS.items())
    config.update_from_flattened_dict(
        {
            "data.builder": "pd4t", "data.data_dir": str(tmp_path / "data"), "data.raw_dir": str(raw),
            "data.options": options, "data.window": 4, "data.clip_starts": (0,), "data.clip_length": 4, "data.crop": 24,
        }
    )  # fmt: skip
    assert data.check(config_lib.resolve(config), tmp_path / "out") == 1
    content = json.loads((tmp_path / "out" / "check.json").read_text())
    found = {(one["level"], one["kind"], one["row"], one["id"]): one["text"] for one in content["findings"]}
    first, second, third = "gait_14-005197_001", "gait_14-005690_002", "gait_15-002976_003"
    assert set(found) >= {
        ("error", "video", 1, first), ("error", "video", 2, second), ("warning", "count", 1, third),
        ("error", "built", 2, third),
    }  # fmt: skip
    assert f"{cut}: the JPEG is cut short" in found["error", "video", 1, first]
    assert "damaged inside, though it can be decoded" in found["error", "video", 2, second]
    assert str(images(raw, "002")[5]) in found["error", "video", 2, second]
    assert "11 frames can be decoded, 12 are annotated" in found["warning", "count", 1, third]
    assert "score: 3.0 in the dataset, 2.0 in the raw data" in found["error", "built", 2, third]

    shutil.rmtree(raw)
    found, videos = check_annotations(maker, raw)
    assert videos is None and "cannot be looked into (No such file or directory)" in found[0].text


def test_a_build_refuses_an_image_that_is_damaged_inside(tmp_path, capfd):
    raw = write(tmp_path / "raw")
    damaged_inside(images(raw, "002")[5])
    with pytest.raises(DecodeError, match=r"'gait_14-005690_002', frame 5: the JPEG is damaged inside.*Corrupt JPEG"):
        build.build("pd4t", data_dir=tmp_path / "data", raw_dir=raw, options=OPTIONS, workers=0)
    assert not list(tmp_path.rglob("*array_record*"))
    # Standard error is where it was.
    os.write(2, b"heard")
    assert "heard" in capfd.readouterr().err


def test_a_folder_of_videos(tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(REPO / "data_builders" / "folder" / "dummy_data", raw)
    maker = build.make_builder("folder", data_dir=tmp_path, raw_dir=raw)
    found, videos = check_raw(maker, raw)
    assert (found, videos) == ([], 6)
    path = raw / "videos" / "knot_03.mp4"
    path.write_bytes(path.read_bytes()[:1000])
    found, _ = check_raw(build.make_builder("folder", data_dir=tmp_path, raw_dir=raw), raw)
    assert [(one.level, one.kind, one.row, one.id) for one in found] == [("error", "video", 4, "knot_03")]


def test_the_published_annotations_have_no_error(tmp_path):
    shutil.copytree(REAL, tmp_path / "info")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "01_01").mkdir()
    maker = build.make_builder("mtl_aqa", data_dir=tmp_path)
    found, videos = check_annotations(maker, tmp_path)
    kinds = [(one.level, one.kind) for one in found]
    assert len(videos) == 1412 and {kind for level, kind in kinds if level == "error"} <= {"video", "short"}
    # The 27 whose score is not what the judges give, and the mark that is corrected.
    assert kinds.count(("warning", "judges")) == 28


@pytest.mark.parametrize(("name", "cases"), [("labels", 24), ("jpegs", 40)])
def test_rows_of_the_reliability_table(tmp_path, capsys, name, cases):
    script = runpy.run_path(str(REPO / "scripts" / "reliability" / f"{name}.py"))
    assert script["main"](["--n", str(cases), "--output", str(tmp_path / "out.json")]) == 0, capsys.readouterr().out
