"""The doctor finds what is broken, says what helps, and does not fall ill himself."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from aqa_jax.data.build import build
from aqa_jax.doctor import examine, machine, places, videos
from aqa_jax.doctor.finding import BROKEN, FINE, NOTE, Finding, Printer, gathered, size
from aqa_jax.weights import write_safetensors

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "data_builders" / "folder" / "dummy_data"


def named(findings):
    return {finding.name: finding for finding in findings}


def test_a_broken_jax_is_a_finding(tmp_path):
    """The whole command, without a config, beside a jax that cannot be imported."""
    (tmp_path / "jax.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    command = [sys.executable, str(ROOT / "run.py"), "--mode", "doctor", "--output", str(tmp_path / "out")]
    path = f"{tmp_path}:{ROOT}"
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": path, "PYTHONUTF8": "1"}
    )
    assert ran.returncode == 1, ran.stderr
    assert "✗ this check failed ImportError: libcudart.so.12" in ran.stdout and ran.stderr == ""
    assert "✓ starter backbone" in ran.stdout and "are broken" in ran.stdout.splitlines()[-2]
    content = json.loads((tmp_path / "out" / "doctor.json").read_text())
    assert content["schema"] == "aqa_jax.doctor/1" and content["healthy"] is False
    assert {row["topic"] for row in content["findings"]} == {"machine", "packages", "devices", "videos", "places"}


def test_this_machine_has_what_the_tests_need():
    found = named([*machine.machine(), *machine.packages(), *machine.devices()])
    assert all(finding.state != BROKEN for finding in found.values())
    assert "jax 0." in found["versions"].value and "GB free" in found["memory"].value
    assert examine.as_json(list(found.values()))["healthy"] is True


def test_packages_that_do_not_fit(monkeypatch):
    wanted = ["numpy>=99", "not-a-package-of-anybody>=1", "scipy>=1"]
    monkeypatch.setattr(machine, "_requirements", lambda name: wanted if name == "requirements.txt" else [])
    found = named(machine.packages())["required"]
    assert found.state == BROKEN and found.value.startswith("1 as they should be; not: numpy ")
    assert "is not >=99" in found.value and "not-a-package-of-anybody is not installed" in found.value


@pytest.mark.parametrize(("chosen", "state"), [("cpu", NOTE), ("", BROKEN)])
def test_a_gpu_that_jax_does_not_use(monkeypatch, chosen, state):
    monkeypatch.setenv("JAX_PLATFORMS", chosen)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("jax.devices", lambda: [mock.Mock(platform="cpu", device_kind="cpu", memory_stats=dict)])
    assert named(machine.devices())["NVIDIA"].state == state


def test_codecs_are_tried(tmp_path, monkeypatch):
    found = named(videos.codecs())
    assert "H.264" in found["read"].value and "MPEG-4" in found["written"].value
    shutil.copytree(videos.SAMPLES, tmp_path / "samples")
    sample = tmp_path / "samples" / "h264.mp4"
    sample.write_bytes(sample.read_bytes()[:-400])
    shutil.copy(videos.SAMPLES / "vp9.mp4", tmp_path / "samples" / "hevc.mp4")
    monkeypatch.setattr(videos, "SAMPLES", tmp_path / "samples")
    monkeypatch.setattr(videos, "bar", lambda frame: np.full((64, 64, 3), 200 * (frame % 2), np.uint8))
    found = named(videos.codecs())
    assert found["H.264 unread"].state == BROKEN and "ffmpeg -i" in found["H.264 unread"].fix
    assert "look different" in found["HEVC unread"].value and found["HEVC unread"].state == NOTE


def test_datasets_whole_damaged_and_unfinished(tmp_path):
    (missing,) = places.datasets(tmp_path / "nowhere")
    assert missing.state == FINE and "a run builds what it needs" in missing.value
    data = tmp_path / "data"
    first = build("folder", data_dir=data, raw_dir=FOLDER, options={"side": 16}, workers=0)
    second = build("folder", data_dir=data, raw_dir=FOLDER, options={"side": 12}, workers=0)
    (whole,) = places.datasets(data)
    assert whole.value.startswith("2 whole in ") and str(first.relative_to(data)) in whole.value
    shard = next(second.glob("*.array_record-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (second.parent / "incomplete.ABC_1.0.0").mkdir()
    found = named(places.datasets(data))
    assert found["datasets"].value.startswith("1 whole in ")
    assert found["dataset"].state == BROKEN and shard.name in found["dataset"].value
    assert found["dataset"].fix == f"remove {second}: the next run builds it anew"
    assert found["unfinished builds"].state == NOTE and "incomplete.ABC_1.0.0" in found["unfinished builds"].fix


def test_weights_are_recognised_or_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "none here" in named(places.weights())["Kinetics weights"].value
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "page.pt").write_text("<!doctype html><html>sign in</html>")
    write_safetensors(
        tmp_path / "mine.safetensors", {"i3d/Conv3d_1a_7x7/conv/kernel": np.zeros((1, 1, 1, 3, 2), np.float32)}, {}
    )
    rows = [finding for finding in places.weights() if finding.name == "weights"]
    assert [row.state for row in rows] == [FINE, NOTE]
    assert "mine.safetensors: a weight file, aqa_jax keys" in rows[0].value and "web page" in rows[1].value


def test_what_a_config_names(tmp_path):
    (tmp_path / "page.pt").write_text("<!doctype html><html>sign in</html>")
    paths = {"data.raw_dir": str(tmp_path), "model.weights": str(tmp_path / "page.pt"), "adapter.file": "runs/nowhere"}
    found = named(places.named(paths))
    assert [found[key].state for key in paths] == [FINE, BROKEN, BROKEN]
    assert found["adapter.file"].fix == "give the right path: --config.adapter.file=PATH"
    assert not list(places.named({"model.weights": "starter", "adapter.file": ""}))


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_writable", lambda folder: folder != tmp_path)
    monkeypatch.chdir(tmp_path)
    here = named(places.disk(tmp_path / "data"))["disk, here"]
    assert here.state == BROKEN and "change its permissions" in here.fix


def test_output_is_aligned_and_falls_back_to_ascii():
    def failing():
        yield Finding("one", "first", "value " * 30, FINE)
        yield Finding("one", "second", "bad", BROKEN, "do this")
        raise RuntimeError("the check itself\nand more")

    findings = list(gathered("one", failing))
    assert findings[-1] == Finding(
        "one",
        "this check failed",
        "RuntimeError: the check itself",
        BROKEN,
        "see the error; is the installation whole?",
    )
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    printer = Printer(out)
    for finding in findings:
        printer.show(finding)
    printer.close(findings)
    lines = out.buffer.getvalue().decode().splitlines()
    assert lines[1] == "one" and lines[2].startswith("  ok first             value value")
    assert lines[3].startswith(" " * 23 + "value") and all(len(line) <= 101 for line in lines)
    assert "  XX second            bad" in lines and " " * 23 + "-> do this" in lines
    assert lines[-1] == "2 things are broken; 0 to note, 1 fine"


@pytest.mark.parametrize(("count", "said"), [(12, "12 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")])
def test_sizes(count, said):
    assert size(count) == said
