import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from aqa_jax.config import to_json
from aqa_jax.config_keys import Config, DataConfig
from aqa_jax.errors import AqaError
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.evaluate.results import write_metrics
from aqa_jax.evaluate.selection import Selection

SCRIPT = Path(__file__).parents[2] / "scripts" / "controls.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("controls_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


def test_prints_the_run_beside_its_controls_and_saves_them(script, tmp_path, monkeypatch, capsys):
    data = DataConfig(
        data_dir=str(tmp_path / "data"),
        options="train_videos=24,test_videos=12",
        window=32,
        clip_starts=(0, 16),
    )
    (tmp_path / "config.json").write_text(to_json(dataclasses.replace(Config(), data=data)))
    y = np.arange(12.0)
    write_metrics(
        tmp_path / "evaluation" / "metrics.json", score_metrics(y, y),
        split="test", protocol="p", config_hash="c",
        selection=Selection("last", 1).to_dict(), dataset_fingerprint="d", checkpoint_step=1, seed=0,
    )  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["controls.py", "--workdir", str(tmp_path)])
    script.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names[0] == "this run" and "| 1.000 |" in lines[2]
    assert names[1] == "difficulty alone" and names[-1] == "noise ceiling"
    saved = json.loads((tmp_path / "evaluation" / "controls.json").read_text())
    assert list(saved["controls"]) == names[1:]
    assert all(metrics["num_examples"] == 12 for metrics in saved["controls"].values())
    assert saved["controls"]["noise ceiling"]["rho"] > 0.9


def test_a_folder_without_a_run_is_refused(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["controls.py", "--workdir", str(tmp_path)])
    with pytest.raises(AqaError, match="No config at"):
        script.main()
