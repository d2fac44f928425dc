"""--mode crossval as a person calls it: killed at random moments, it goes on and ends in the same table."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes
from aqa_jax.errors import CheckpointError, ConfigError
from aqa_jax.evaluate import results
from aqa_jax.evaluate.compare import compare
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.predict.ensemble import make_scorer
from tests.tiny import command_line

ROOT = Path(__file__).parents[1]
# Two seeds on the published test split; only the head is trained, which compiles and starts quickly.
SETTINGS = {
    "crossval.seeds": 2, "train.trainable": "head", "train.evaluate_every": 6, "evaluate.track_test": False,
    "evaluate.familiarity_neighbours": 0,
}  # fmt: skip


def start(*arguments):
    command = [sys.executable, str(ROOT / "run.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def crossval(folder, **changes):
    return start(
        *command_line(folder / "data", **SETTINGS | changes), "--workdir", folder / "run", "--mode", "crossval"
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    code, out, err = finish(crossval(folder))
    assert code == 0, err[-3000:]
    return folder / "run", out


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_killed_at_random_it_ends_in_the_same_table(whole, tmp_path):
    run = tmp_path / "run"
    first, second = run / "fold_test" / "seed_0", run / "fold_test" / "seed_1"
    logged = second / "logs" / "train.jsonl"
    moments = (
        (signal.SIGKILL, lambda: (first / "config.json").exists()),
        (signal.SIGKILL, lambda: any((first / "checkpoints").glob("[0-9]*"))),
        # Asked politely, it saves the run that is under way.
        (signal.SIGTERM, lambda: logged.exists() and '"loss"' in logged.read_text()),
    )
    for number, condition in moments:
        process = crossval(tmp_path)
        wait_for(condition, process)
        time.sleep(random.uniform(0, 0.5) if number == signal.SIGKILL else 0)
        # Without /proc the files alone can tell whether a worker lived on.
        workers = children(process.pid) if Path("/proc/self/task").exists() else []
        process.send_signal(number)
        code, _, err = finish(process)
        assert code == -number or (code == 143 and "the same command goes on" in err), err[-2000:]
        # Nobody is left who writes into the workdir.
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not list(run.rglob("error.txt"))
    code, out, err = finish(crossval(tmp_path))
    assert code == 0, err[-3000:]
    assert "1 of 2 runs are finished and kept" in out
    for name in ("crossval.json", "crossval.csv", "crossval.png"):
        assert (run / name).read_bytes() == (whole[0] / name).read_bytes(), name


def test_the_table_is_that_of_the_runs(whole):
    run, out = whole
    content = json.loads((run / "crossval.json").read_text())
    assert content["seeds"] == [0, 1] and content["protocol"]["folds"] == {"test": 20} and content["failed"] == {}
    metrics = [results.read_metrics(run / f"fold_test/seed_{seed}/evaluation/metrics.json") for seed in (0, 1)]
    assert [one["seed"] for one in metrics] == [0, 1]
    # Seeds draw other validation videos, and share the protocol.
    assert metrics[0]["protocol_fingerprint"] == metrics[1]["protocol_fingerprint"]
    rho = [one["metrics"]["rho"] for one in metrics]
    means = content["means"]
    found = means["best_on_validation"]["rho"]
    assert found["arithmetic"]["mean"] == pytest.approx(np.mean(rho))
    assert found["arithmetic"]["spread"] == pytest.approx(np.std(rho, ddof=1))
    assert found["fisher_z"]["by_seed"] == pytest.approx({"0": rho[0], "1": rho[1]})
    assert means["best_on_test"] == means["mean_of_last_10"] == {}
    assert "has a test rho" in out and "evaluations were made, 10 are needed" in out
    both = [results.read_predictions(run / f"fold_test/seed_{seed}/evaluation/predictions.csv") for seed in (0, 1)]
    mean = np.mean([one["mean"] for one in both], 0)
    sigma = np.sqrt(np.mean([one["sigma"] ** 2 + one["mean"] ** 2 for one in both], 0) - mean**2)
    expected = score_metrics(both[0]["score"], mean, sigma, bootstrap=0)
    assert content["ensemble"]["test"]["test"]["nll"] == pytest.approx(expected["nll"], rel=1e-6)
    assert means["ensemble"]["rho"]["arithmetic"]["mean"] == pytest.approx(expected["rho"])
    assert f"{expected['rho']:.3f}" in out and "own test split" in out
    with (run / "crossval.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["rule"], row["metric"]) == ("last", "mae")]
    assert [(row["seed"], float(row["value"])) for row in rows] == [
        (str(seed), one["all_selections"]["last"]["test"]["mae"]) for seed, one in enumerate(metrics)
    ]


def test_the_finished_runs_score_files_together(whole):
    run, _ = whole
    ensemble, *singles = (
        make_scorer(config_lib.resolve(config_lib.read_json(folder / "config.json")), folder)
        for folder in (run, run / "fold_test/seed_0", run / "fold_test/seed_1")
    )
    assert ensemble.needs_difficulty and ensemble.known_difficulties is None
    video = np.random.default_rng(0).integers(0, 255, (2, 2, 16, 32, 32, 3), np.uint8)
    both, one, other = (scorer.score(video, np.array([2.0, 3.0])) for scorer in (ensemble, *singles))
    np.testing.assert_allclose(both.mean, (one.mean + other.mean) / 2, rtol=1e-5)
    np.testing.assert_allclose(both.point, both.mean, rtol=1e-5)
    variance = (one.sigma**2 + other.sigma**2) / 2 + ((one.mean - other.mean) / 2) ** 2
    np.testing.assert_allclose(both.sigma, np.sqrt(variance), rtol=1e-4)
    np.testing.assert_allclose(both.interval(0.9)[0], both.mean - 1.6449 * both.sigma, rtol=1e-3)
    said = ensemble.describe()
    assert (
        list(said["ensemble"]) == ["fold_test/seed_0", "fold_test/seed_1"] and "mixture of 2 runs" in said["intervals"]
    )
    with pytest.raises(ConfigError, match="multiplies by the difficulty"):
        ensemble.score(video)


def test_a_crossval_without_a_finished_run_scores_nothing(whole, tmp_path):
    run, _ = whole
    (tmp_path / "fold_0" / "seed_0").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no finished run: go on with --mode crossval"):
        make_scorer(config_lib.resolve(config_lib.read_json(run / "config.json")), tmp_path)


def test_its_runs_are_compared(whole, tmp_path):
    runs = [whole[0] / "fold_test" / f"seed_{seed}" for seed in (0, 1)]
    code, out, err = finish(start("--mode", "compare", *runs, "--output", tmp_path / "table.json"))
    assert code == 0, err[-2000:]
    rows = json.loads((tmp_path / "table.json").read_text())["runs"]
    rho = [results.read_metrics(run / "evaluation" / "metrics.json")["metrics"]["rho"] for run in runs]
    change = rows[1]["differences"]["rho"]
    assert change["difference"] == pytest.approx(rho[1] - rho[0])
    assert change["interval"][0] <= change["difference"] <= change["interval"][1]
    assert f"| {runs[1]} | dae_mt | best_on_validation | 20 | {rho[1]:.3f} [" in out
    # The mean over both seeds is compared with one of them.
    both = compare([*runs, whole[0]])[2]
    assert both.figures["rho"] == pytest.approx(np.mean(rho))
    assert both.differences["rho"]["difference"] == pytest.approx((rho[1] - rho[0]) / 2)


@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_its_folder_is_not_a_runs(whole, mode):
    config = config_lib.resolve(config_lib.read_json(whole[0] / "config.json"))
    with pytest.raises(ConfigError, match="holds a cross-validation: --mode crossval goes on with it"):
        modes.run(mode, modes.Request(config, whole[0]))


@pytest.mark.parametrize("mode", ["crossval", "predict"])
def test_several_hosts_share_neither_a_crossval_nor_files_to_score(whole, mode):
    code, _, err = finish(start("--workdir", whole[0], "--mode", mode, "--processes", "2"))
    assert code == 1 and f"--mode {mode} works on one host" in err
