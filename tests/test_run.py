"""run.py as a person calls it, in processes of its own: killed and started again, and scoring real files."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import STEPS, command_line

ROOT = Path(__file__).parents[1]
VIDEOS = Path(__file__).parent / "data" / "videos"


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "run.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def training(folder: Path) -> list[str]:
    return [*command_line(folder / "data"), "--workdir", str(folder / "run")]


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    code, out, err = finish(start(*training(folder)))
    assert code == 0, err[-3000:]
    return folder, out


def results(folder: Path) -> list[bytes]:
    return [(folder / "run" / "evaluation" / name).read_bytes() for name in ("metrics.json", "predictions.csv")]


def test_killed_anywhere_and_started_again_it_ends_in_the_same_figures(whole, tmp_path):
    run = tmp_path / "run"
    moments = {
        "in the build": lambda: any((tmp_path / "data").rglob("*")),
        "after the first checkpoint": lambda: (run / "checkpoints" / "3").exists(),
        "after a later one": lambda: any((run / "checkpoints" / str(step)).exists() for step in (9, 12)),
    }
    for condition in moments.values():
        process = start(*training(tmp_path))
        wait_for(condition, process)
        process.kill()
        process.communicate()
    code, out, err = finish(start(*training(tmp_path)))
    assert code == 0, err[-3000:]
    assert "Going on from step" in out
    assert results(tmp_path) == results(whole[0])


def test_sigterm_loses_no_step(whole, tmp_path):
    log = tmp_path / "run" / "logs" / "train.jsonl"
    process = start(*training(tmp_path))
    wait_for(lambda: any((tmp_path / "data").rglob("incomplete*")), process)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143 and "the same command goes on" in err, err[-2000:]
    assert not any((tmp_path / "data").rglob("incomplete*"))
    process = start(*training(tmp_path))
    wait_for(lambda: log.exists() and '"loss"' in log.read_text(), process)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143, err[-2000:]
    last = max(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit())
    assert f"step {last} of {STEPS} is saved" in err
    code, out, err = finish(start(*training(tmp_path)))
    assert code == 0, err[-3000:]
    assert f"Going on from step {last} of {STEPS}" in out
    assert results(tmp_path) == results(whole[0])
    # Another run has compiled the same step before: from the cache on disk, in this process as in the killed one.
    lines = map(json.loads, log.read_text().splitlines())
    assert {line["from_cache"] for line in lines if line["kind"] == "compile"} == {1}


def test_the_terminal_shows_the_table_the_rules_and_where_results_lie(whole):
    folder, out = whole
    assert "trainable" in out
    for rule in ("best_on_validation", "last", "best_on_test"):
        assert rule in out
    assert str(folder / "run" / "evaluation") in out


def test_real_videos_are_scored_and_a_damaged_one_is_answered_in_words(whole, tmp_path):
    run = whole[0] / "run"
    earlier = tmp_path / "videos" / "corrupted" / "report.html"
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    arguments = ["--workdir", run, "--mode", "predict", "--input", VIDEOS, "--output", tmp_path]
    code, out, err = finish(start(*arguments, "--config.predict.difficulty=3.0"))
    assert code == 1, err[-2000:]
    assert "corrupted.mp4: " in out and "28 of 50 frames" in out and not earlier.exists()
    with (tmp_path / "scores.csv").open() as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    for name in ("demo.mp4", "rotated_90.mov"):
        assert float(rows[name]["sigma"]) > 0 and float(rows[name]["low90"]) < float(rows[name]["score"])
        assert rows[name]["error"] == ""
    assert rows["corrupted.mp4"]["score"] == ""
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [Path(e["file"]).name for e in scores["errors"]] == ["corrupted.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "predict", "--input", str(VIDEOS)], "needs the difficulty of the action"),
        (["--mode", "predict"], "needs --input"),
        (["--mode", "predict", "--input", "no_such_folder"], "no_such_folder does not exist"),
        (["--mode", "evaluate", "--config.data.shuffle_time=True"], "Name a folder for the result with --output"),
        (["--mode", "import_weights"], "needs --weights FILE"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(whole, arguments, message):
    code, _, err = finish(start("--workdir", whole[0] / "run", *arguments))
    assert code == 1
    assert message in err and "Traceback" not in err


def test_a_control_is_evaluated_into_a_folder_of_its_own(whole, tmp_path):
    folder = whole[0]
    before = results(folder)
    arguments = ["--workdir", folder / "run", "--mode", "evaluate", "--output", tmp_path / "shuffled"]
    code, _, err = finish(start(*arguments, "--config.data.shuffle_time=True"))
    assert code == 0, err[-2000:]
    assert "SHUFFLED" in json.loads((tmp_path / "shuffled" / "metrics.json").read_text())["protocol"]
    assert results(folder) == before


def test_a_runs_backbone_is_exported_and_starts_another_run(whole, tmp_path):
    folder, exported = whole[0], tmp_path / "exported"
    arguments = ["--workdir", folder / "run", "--mode", "import_weights", "--weights", folder / "run"]
    code, out, err = finish(start(*arguments, "--output", exported))
    assert code == 0, err[-2000:]
    assert "75 tensors used, 0 dropped" in out
    changes = {"model.weights": str(exported / "weights.safetensors")}
    code, out, err = finish(start(*command_line(folder / "data", **changes), "--workdir", tmp_path / "next"))
    assert code == 0, err[-2000:]
    assert "weights.safetensors: aqa_jax keys: 75 tensors used" in out
