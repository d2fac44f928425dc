import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from aqa_jax.data.build import build, builder_class, make_config
from aqa_jax.data.builder import make_table
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError

TOY = str(Path(__file__).parent / "toy_videos")
REPO = Path(__file__).parents[2]


def test_parallel_and_serial_builds_give_the_same_records(tmp_path, toy):
    directory = build(TOY, data_dir=tmp_path, workers=2)
    store = VideoStore.open(directory)
    assert store.metadata["fingerprint"] == toy.metadata["fingerprint"]
    for split in ("train", "test"):
        count = sum(shard["records"] for shard in store.metadata["shards"][split])
        assert store._records(split, range(count)) == toy._records(split, range(count))
    left = {path.name for path in directory.iterdir()}
    assert left == {"dataset_info.json", "features.json", "metadata.json"} | {
        shard["name"] for shards in store.metadata["shards"].values() for shard in shards
    }


def test_a_whole_dataset_is_not_built_again(tmp_path):
    directory = build(TOY, data_dir=tmp_path, workers=0)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert build(TOY, data_dir=tmp_path, workers=0) == directory
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_other_options_give_another_dataset(tmp_path, toy):
    directory = build(TOY, data_dir=tmp_path, options={"videos": 2}, workers=0)
    assert directory.parent.name.startswith("default-")
    store = VideoStore.open(directory)
    assert len(store.table.rows("train")) == 2
    assert store.metadata["options"]["videos"] == 2
    assert store.metadata["fingerprint"] != toy.metadata["fingerprint"]


def test_options_as_text():
    builder = builder_class("mtl_aqa")
    text = {"exclude": "04_49 26_05", "require_judges": "true", "window": "16", "layout": "dives"}
    typed = {"exclude": ["04_49", "26_05"], "require_judges": True, "window": 16, "layout": "dives"}
    config = make_config(builder, text)
    assert config.options() == make_config(builder, {}).options() | typed
    assert config.name == make_config(builder, typed).name
    assert make_config(builder, {"window": "103"}) is builder.BUILDER_CONFIGS[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"video": 3}, "did you mean 'videos'"),
        ({"videos": "3.5"}, "'videos' is of type int, got '3.5'"),
        ({"videos": True}, "'videos' is of type int, got True"),
    ],
)
def test_unknown_and_wrong_options(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        build(TOY, data_dir=tmp_path, options=options)


def test_unknown_builder(tmp_path):
    with pytest.raises(ConfigError, match=r"no dataset builder 'mtl_aka'; there are .*mtl_aqa"):
        build("mtl_aka", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "the score is not a number for: train-3, test-3"),
        ("twice", r"train-2 \(train and train\), test-2 \(test and test\)"),
        ("across", r"shared \(train and test\)"),
        ("size", r"frame 0: uint8 \(8, 8, 3\), but the dataset stores uint8 \(24, 32, 3\)"),
    ],
)
def test_bad_videos_stop_the_build_and_leave_nothing(tmp_path, fault, message):
    with pytest.raises(DataError, match=message):
        build(TOY, data_dir=tmp_path, options={"fault": fault}, workers=0)
    assert not list(tmp_path.rglob("*array_record*")) and not list(tmp_path.rglob("incomplete*"))


@pytest.mark.parametrize(
    ("name", "value"), [("difficulty", float("nan")), ("judges", [8.0, float("inf")]), ("judges", np.array([np.nan]))]
)
def test_numbers_that_are_none_are_not_stored_as_unknown(name, value):
    row = {"id": "a", "group": "g", "score": 1.0, "difficulty": None, "judges": [], "eval_start": 0, "split": "train"}
    assert make_table([row])["difficulty"] == [None]
    with pytest.raises(DataError, match=f"{name} not a number for: b"):
        make_table([row, {**row, "id": "b", name: value}])


@pytest.mark.parametrize("limit", [20_000, 330_000])
def test_a_full_disk_stops_the_build_in_words_and_leaves_nothing(tmp_path, limit):
    """`limit`: where writing fails, as on a full disk: in the spool, and in a shard."""
    whole = build(TOY, data_dir=tmp_path, options={"videos": 2}, workers=0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(DataError, match=r"stopped: .*File too large|could not be written whole"):
            build(TOY, data_dir=tmp_path, workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (
        not list(tmp_path.rglob("incomplete*")) and not (tmp_path / "toy_videos" / "default").joinpath("1.0.0").exists()
    )
    VideoStore.open(whole).verify()
    VideoStore.open(build(TOY, data_dir=tmp_path, workers=0)).verify()


def test_what_cannot_be_opened_is_said_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"Not a directory .*file"):
        build(TOY, data_dir=tmp_path / "file", workers=0)
    directory = build(TOY, data_dir=tmp_path, options={"videos": 2}, workers=0)
    for text in ("", "{}", "\xff"):
        (directory / "dataset_info.json").write_bytes(text.encode("latin1"))
        with pytest.raises(DataError, match=r"toy_videos in .* cannot be read .*: remove it and build it again"):
            build(TOY, data_dir=tmp_path, options={"videos": 2}, workers=0)


@pytest.mark.parametrize(("fault", "error"), [("crash", RuntimeError), ("kill", DataError)])
def test_a_broken_or_killed_worker_stops_the_build(tmp_path, fault, error):
    with pytest.raises(error, match="renderer broke" if fault == "crash" else "a worker process died"):
        build(TOY, data_dir=tmp_path, options={"fault": fault}, workers=1)
    assert not list(tmp_path.rglob("incomplete*"))


def test_a_killed_build_is_refused_then_built_again(tmp_path, toy):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from aqa_jax.data.build import build; "
        "build(sys.argv[2], data_dir=sys.argv[3], options={'fault': 'slow'}, workers=1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(REPO), TOY, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "slow video reached"
        process.send_signal(signal.SIGKILL)
        # The pipe closes when the worker is gone too.
        assert process.stdout.read() == ""
    (half,) = tmp_path.rglob("incomplete*")
    final = half.parent / "1.0.0"
    for path in (half, final):
        with pytest.raises(DataError, match="--mode build"):
            VideoStore.open(path)
    os.rename(half.parent, tmp_path / "toy_videos" / "default")
    directory = build(TOY, data_dir=tmp_path, workers=0)
    assert not list(tmp_path.rglob("incomplete*"))
    store = VideoStore.open(directory)
    store.verify()
    assert store.metadata["fingerprint"] == toy.metadata["fingerprint"]


def test_workers_do_not_run_the_calling_script_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(REPO)!r}); from aqa_jax.data.build import build; "
        f"print('script runs'); build({TOY!r}, data_dir='data', workers=1)"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "script runs\n"
    assert VideoStore.open(tmp_path / "data" / "toy_videos" / "default" / "1.0.0")


def test_builds_wait_for_each_other(tmp_path, capfd):
    folder = tmp_path / "toy_videos" / "default"
    folder.mkdir(parents=True)
    done: list[Path] = []
    with open(folder / ".1.0.0.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: done.append(build(TOY, data_dir=tmp_path, workers=0)))
        thread.start()
        while "waiting for it" not in (said := capfd.readouterr().err):
            assert thread.is_alive(), said
        assert not done
    thread.join()
    VideoStore.open(done[0])
