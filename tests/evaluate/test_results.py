import csv
import json

import numpy as np
import pytest

from aqa_jax.errors import DataError, RunError
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.evaluate.results import (
    prediction_columns,
    read_metrics,
    read_predictions,
    write_metrics,
    write_predictions,
)
from aqa_jax.evaluate.selection import select

IDS = ["a", "=cmd()", "-4", "'quoted", 'b,"c"\nd']


def columns(**extra):
    score = np.array([70.5, 60.25, 81.0, 33.3, 50.0], np.float32)
    difficulty = np.array([2.8, np.nan, 3.0, 3.1, 2.0])
    return prediction_columns(IDS, "test", score, score + 1, np.full(5, 2.0, np.float32), difficulty, **extra)


def test_predictions_read_back_as_they_were(tmp_path):
    path = tmp_path / "evaluation" / "predictions.csv"
    written = columns(group=["g1", "g2", "+3", "@x", ""], tempo=np.arange(5))
    write_predictions(path, written)
    read = read_predictions(path)
    assert list(read) == list(written)
    assert read["id"] == IDS
    assert read["group"] == ["g1", "g2", "+3", "@x", ""]
    for name in ("score", "mean", "sigma", "low90", "high90", "difficulty", "tempo"):
        np.testing.assert_array_equal(read[name].astype(np.asarray(written[name]).dtype), written[name])
    np.testing.assert_allclose(read["high90"] - read["low90"], 2 * 1.6448536 * 2, rtol=1e-5)


def test_no_text_cell_starts_a_formula(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, columns())
    with open(path, newline="") as file:
        names = [row["id"] for row in csv.DictReader(file)]
    assert names[1:4] == ["'=cmd()", "'-4", "''quoted"]
    assert not any(name.startswith(("=", "+", "-", "@", "\t", "\r")) for name in names)


def test_a_method_without_sigma_leaves_cells_empty(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, prediction_columns(["a"], "test", np.array([1.0]), np.array([2.0])))
    assert path.read_text().splitlines()[1] == "a,test,1.0,2.0,,,,"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.array([1, 2, np.nan, 4, 5])}, "not finite for: -4"),
        ({"id": ["a", "b", "a", "c", "d"]}, "more than once: a"),
        ({"score": None}, "lack the columns score"),
    ],
)
def test_bad_predictions_write_nothing(tmp_path, change, message):
    path = tmp_path / "predictions.csv"
    bad = {name: value for name, value in (columns() | change).items() if value is not None}
    with pytest.raises(RunError, match=message):
        write_predictions(path, bad)
    assert list(tmp_path.iterdir()) == []


def metrics_file(path, metrics):
    history = [{"step": 7, "validation": {"rho": 0.5}}]
    write_metrics(
        path,
        metrics,
        split="test",
        protocol="validation_by_group",
        selection=select(history).to_dict(),
        config_hash="abc",
        dataset_fingerprint="def",
        checkpoint_step=np.int64(7),
        seed=3,
    )


def test_metrics_hold_the_figures_and_where_they_come_from(tmp_path):
    y = np.arange(30.0)
    metrics = score_metrics(y, y + np.sin(y), np.full(30, 1.5), bootstrap=50)
    metrics_file(tmp_path / "metrics.json", metrics)
    read = read_metrics(tmp_path / "metrics.json")
    assert read["metrics"] == metrics
    assert read["num_examples"] == 30
    assert read["selection"]["rule"] == "best_on_validation"
    assert "no say" in read["selection"]["meaning"]
    assert (read["checkpoint_step"], read["config_hash"], read["dataset_fingerprint"], read["seed"]) == (
        7,
        "abc",
        "def",
        3,
    )
    assert read["versions"]["numpy"] == np.__version__
    first = (tmp_path / "metrics.json").read_bytes()
    metrics_file(tmp_path / "metrics.json", metrics)
    assert (tmp_path / "metrics.json").read_bytes() == first


def test_metrics_are_strict_json(tmp_path):
    with pytest.raises(RunError, match=r"metrics\.json: metrics: rho is nan"):
        metrics_file(tmp_path / "metrics.json", {"rho": np.float32("nan"), "num_examples": 3})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "metrics.json").write_text(json.dumps({"schema": "aqa_jax.metrics/0"}))
    with pytest.raises(DataError, match=r"has schema 'aqa_jax\.metrics/0', this version reads"):
        read_metrics(tmp_path / "metrics.json")
