"""The study's arithmetic, on made-up results of its runs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from aqa_jax.evaluate.results import write_metrics
from aqa_jax.evaluate.selection import Selection

SCRIPT = Path(__file__).parents[2] / "scripts" / "pecop_study.py"
SEEDS = 4


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("pecop_study_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def finished(folder, **metrics):
    write_metrics(
        folder / "evaluation" / "metrics.json", {"num_examples": 5, **metrics}, split="test", protocol="p",
        selection=Selection("last", 1).to_dict(), config_hash="c", dataset_fingerprint="d", checkpoint_step=1, seed=0,
    )  # fmt: skip


@pytest.fixture
def study(script, tmp_path):
    rng = np.random.default_rng(0)
    rho = {name: 0.6 + 0.05 * rng.standard_normal(SEEDS) for name in script.ARMS}
    rho["pecop"] = rho[script.REFERENCE] + [0.09, 0.1, 0.11, 0.1]
    for name, arm in script.ARMS.items():
        for seed in range(SEEDS):
            finished(tmp_path / f"seed{seed}" / name / "score", rho=float(rho[name][seed]), mae=0.5)
            if arm.trainable is not None:
                figures = {"segment_accuracy": 0.9, "pace_accuracy": 0.5 + 0.1 * seed}
                finished(tmp_path / f"seed{seed}" / name / "pretraining", **figures)
    return tmp_path, rho


def test_differences_are_paired_by_seed(script, study):
    folder, rho = study
    summary = script.summarise(folder, SEEDS)
    pecop = summary["arms"]["pecop"]
    assert pecop["less_reference"]["mean"] == pytest.approx(0.1)
    found = stats.ttest_rel(rho["pecop"], rho[script.REFERENCE]).confidence_interval()
    np.testing.assert_allclose(pecop["less_reference"]["interval"], [found.low, found.high])
    # The seeds' own spread is far larger, and cancels.
    assert np.ptp(pecop["interval"]) > 3 * np.ptp(pecop["less_reference"]["interval"])
    assert pecop["pace_accuracy"] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert "less_reference" not in summary["arms"][script.REFERENCE]
    untrained = summary["arms"]["untrained"]["proposed_less_this"]
    assert untrained["mean"] == pytest.approx(np.mean(rho["pecop"] - rho["untrained"]))


def test_the_table_has_a_line_an_arm(script, study):
    lines = script.table(script.summarise(study[0], SEEDS)).splitlines()
    rows = lines[4:]
    assert len(rows) == len(script.ARMS)
    assert all(row.count("|") == lines[2].count("|") for row in rows)
    assert "| 0.900 | 0.650 |" in rows[-1] and "+0.100 [+0." in rows[-1] and "+0.100 [+0." in rows[1]


def test_some_arms_alone(script, study):
    summary = script.summarise(study[0], SEEDS, [script.REFERENCE, "pecop"])
    assert list(summary["arms"]) == [script.REFERENCE, "pecop"]
    assert summary["arms"]["pecop"]["less_reference"]["mean"] == pytest.approx(0.1)


def test_another_protocol_in_the_same_folder_is_refused(script, tmp_path, monkeypatch, capsys):
    (tmp_path / "protocol.json").write_text('{"pretraining": "1", "scoring": "2"}')
    monkeypatch.setattr(sys, "argv", ["pecop_study.py", "--workdir", str(tmp_path)])
    with pytest.raises(SystemExit):
        script.main()
    assert "give another --workdir" in capsys.readouterr().err


def test_keys_change_both_configs_and_keep_their_types(script):
    keys = (("train.steps", "7"), ("data.raw_dir", "a=b"), ("optimizer.learning_rate", "1"), ("data.flip", "False"))
    config = script.load(script.Source(script.ROOT / "configs" / "taps_score.py", keys))
    assert (config.train.steps, config.data.raw_dir, config.data.flip) == (7, "a=b", False)
    assert isinstance(config.optimizer.learning_rate, float)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "at least 2"),
        (["--key", "train.stepz=3"], "stepz"),
        (["--scoring_key", "train.steps=-3"], "train.steps"),
        (["--pretraining", "configs/taps_score.py"], "a config of task score stands where one of task vspp belongs"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(script, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(script.ROOT)
    monkeypatch.setattr(sys, "argv", ["pecop_study.py", "--workdir", str(tmp_path / "study"), *arguments])
    with pytest.raises(SystemExit):
        script.main()
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
