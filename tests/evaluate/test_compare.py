"""Rows of made-up runs: paired intervals are scipy's, other protocols are refused or marked."""

import json

import numpy as np
import pytest
from scipy import stats

from aqa_jax.errors import ConfigError, DataError
from aqa_jax.evaluate import compare as comparison
from aqa_jax.evaluate import results
from aqa_jax.evaluate.compare import compare, markdown, write
from aqa_jax.evaluate.crossval import SCHEMA as CROSSVAL_SCHEMA
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.evaluate.protocol import digest
from aqa_jax.files import read_csv, write_json

N = 40
IDS = [f"video{n:02d}" for n in range(N)]
Y = np.random.default_rng(0).normal(60, 15, N).round(1)


def predictions(seed, noise):
    rng = np.random.default_rng(seed)
    return Y + rng.normal(0, noise, N), np.full(N, noise) + rng.uniform(0, 1, N)


def fingerprint(**parts):
    parts = {"test": {"ids": "ab"}, "selection": "last", "preprocessing": {"crop": 224}} | parts
    return {"id": digest(parts), "parts": parts}


def write_run(folder, seed=1, noise=5.0, rows=slice(None), order=1, print_=None, point=None, y=Y, head="dae"):
    mean, sigma = predictions(seed, noise)
    chosen = np.arange(N)[rows][::order]
    extra = {} if point is None else {"point": point[chosen]}
    columns = results.prediction_columns(
        [IDS[i] for i in chosen], "test", y[chosen], mean[chosen], sigma[chosen], **extra
    )
    results.write_predictions(folder / "evaluation" / "predictions.csv", columns)
    metrics = score_metrics(y[chosen], mean[chosen], sigma[chosen], bootstrap=0)
    entries = {} if print_ == "none" else {"protocol_fingerprint": print_ or fingerprint()}
    results.write_metrics(
        folder / "evaluation" / "metrics.json", metrics, split="test", protocol="in words", selection={"rule": "last"},
        config_hash="0", dataset_fingerprint="0", checkpoint_step=1, seed=0, **entries,
    )  # fmt: skip
    write_json(folder / "config.json", {"head": {"name": head}})
    return folder


def write_crossval(folder, seed, noise, failed=()):
    """Two folds (0..24 and 25..39) and two seeds."""
    runs, rho = [], []
    for fold, rows in (("A", slice(0, 25)), ("B", slice(25, N))):
        for k in (0, 1):
            name = f"fold_{fold}/seed_{k}"
            write_run(folder / name, seed + k, noise, rows)
            runs.append({"fold": fold, "workdir": name})
            rho.append(results.read_metrics(folder / name / "evaluation" / "metrics.json")["metrics"]["rho"])
    figures = {"rho": {"arithmetic": {"mean": None if failed else np.mean(rho)}}}
    write_json(
        folder / "crossval.json",
        {
            "schema": CROSSVAL_SCHEMA, "head": "usdl", "selection": "last", "means": {"last": figures}, "runs": runs,
            "protocol": {"column": "group", "folds": {"A": 25, "B": 15}},
            "protocol_fingerprint": fingerprint(folds_by="group"), "failed": dict.fromkeys(failed, "RunError: no"),
        },
    )  # fmt: skip
    return folder


def test_paired_intervals_are_those_of_scipy(tmp_path):
    # The same videos in another order: they are matched by name.
    first, other = write_run(tmp_path / "one", 1, 8.0), write_run(tmp_path / "two", 2, 4.0, order=-1)
    rows = compare([first, other])
    a, b = predictions(1, 8.0)[0], predictions(2, 4.0)[0]

    def rho(y, mean):
        return stats.spearmanr(y, mean).statistic

    def expected(statistic, *data):
        return stats.bootstrap(
            data, statistic, paired=True, vectorized=False, n_resamples=comparison.RESAMPLES, method="percentile",
            rng=np.random.default_rng(comparison.SEED),
        ).confidence_interval  # fmt: skip

    np.testing.assert_allclose(rows[0].interval, expected(rho, Y, a), atol=1e-12)
    change = rows[1].differences["rho"]
    assert change["difference"] == pytest.approx(rho(Y, b) - rho(Y, a))
    np.testing.assert_allclose(change["interval"], expected(lambda y, a, b: rho(y, b) - rho(y, a), Y, a, b), atol=1e-12)
    errors = np.abs(Y - b) - np.abs(Y - a)
    mae = rows[1].differences["mae"]
    assert mae["difference"] == pytest.approx(errors.mean())
    np.testing.assert_allclose(mae["interval"], expected(np.mean, errors), atol=1e-9)
    assert rows[1].differences["crps"]["interval"][1] < 0
    assert [row.head for row in rows] == ["dae", "dae"] and rows[0].differences == {}
    # What is paired more tightly than two separate intervals would say.
    assert np.ptp(change["interval"]) < np.ptp(rows[0].interval) + np.ptp(rows[1].interval)


def test_the_score_that_counts_is_the_point(tmp_path):
    first, other = write_run(tmp_path / "one"), write_run(tmp_path / "two", point=Y.copy())
    assert compare([first, other])[1].differences["mae"]["difference"] == pytest.approx(
        -np.abs(Y - predictions(1, 5.0)[0]).mean()
    )


def test_cross_validations_are_resampled_within_their_folds(tmp_path):
    first, other = write_crossval(tmp_path / "one", 10, 8.0), write_crossval(tmp_path / "two", 20, 4.0)
    rows = compare([first, other])

    def mean_rho(index, seed, noise):
        folds = (np.arange(25)[index[0]], np.arange(25, N)[index[1]])
        return np.mean(
            [stats.spearmanr(Y[f], predictions(seed + k, noise)[0][f]).statistic for f in folds for k in (0, 1)]
        )

    whole = (np.arange(25), np.arange(15))
    assert rows[0].figures["rho"] == pytest.approx(mean_rho(whole, 10, 8.0))
    change = rows[1].differences["rho"]
    assert change["difference"] == pytest.approx(mean_rho(whole, 20, 4.0) - mean_rho(whole, 10, 8.0))
    rng = np.random.default_rng(5)
    draws = [(rng.integers(0, 25, 25), rng.integers(0, 15, 15)) for _ in range(600)]
    own = np.quantile([mean_rho(d, 20, 4.0) - mean_rho(d, 10, 8.0) for d in draws], [0.025, 0.975])
    np.testing.assert_allclose(change["interval"], own, atol=0.02)
    assert (rows[0].num_examples, rows[0].head) == (40, "usdl")
    # One whose runs are not all there has no figure and no difference.
    broken = compare([first, write_crossval(tmp_path / "three", 30, 4.0, failed=["fold_A/seed_0"])])[1]
    assert broken.figures["rho"] is None and broken.interval is None and broken.differences == {}
    assert "1 of 4 runs of" in broken.unpaired


def test_other_protocols_are_refused_or_marked(tmp_path):
    first = write_run(tmp_path / "one")
    other = write_run(tmp_path / "two", print_=fingerprint(preprocessing={"crop": 112}, selection="best_on_test"))
    same = write_run(tmp_path / "three", 3)
    with pytest.raises(
        ConfigError, match=r"two: selection: last -> best_on_test; preprocessing.crop: 224 -> 112"
    ) as said:
        compare([first, other, same])
    assert "--allow_different_protocols" in str(said.value) and "three" not in str(said.value)
    rows = compare([first, other, same], allow_different_protocols=True)
    text = markdown(rows)
    assert f"| {other} * |" in text and f"| {same} |" in text and text.count("ANOTHER PROTOCOL") == 1
    # The videos are the same: their difference is shown, beside the mark.
    assert rows[1].differences["rho"]["interval"] is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": slice(0, 30)}, "other test videos: 30 of 30 are shared"),
        ({"y": Y + 1}, "the same test videos have other labels"),
    ],
)
def test_what_cannot_be_paired_says_why(tmp_path, changes, reason):
    print_ = fingerprint(test={"ids": "cd"})
    rows = compare(
        [write_run(tmp_path / "one"), write_run(tmp_path / "two", 2, print_=print_, **changes)],
        allow_different_protocols=True,
    )
    assert rows[1].unpaired == reason and rows[1].differences == {}
    last = markdown(rows).splitlines()[3]
    assert last.endswith("| — | — | — |") and f"no differences: {reason}" in markdown(rows)


def test_a_crossval_and_a_run_cannot_be_paired(tmp_path):
    rows = compare(
        [write_crossval(tmp_path / "one", 1, 5.0), write_run(tmp_path / "two")], allow_different_protocols=True
    )
    assert rows[1].unpaired == "other folds" and rows[1].differs == ["folds_by: group -> none"]


def test_few_or_constant_videos_have_no_interval(tmp_path):
    few = [write_run(tmp_path / name, seed, rows=slice(0, 8)) for name, seed in (("one", 1), ("two", 2))]
    rows = compare(few)
    assert rows[0].interval is None and rows[1].differences["rho"]["interval"] is None
    assert rows[1].differences["rho"]["difference"] is not None
    flat = [write_run(tmp_path / name, seed, y=np.full(N, 5.0)) for name, seed in (("three", 1), ("four", 2))]
    rows = compare(flat)
    assert rows[0].figures["rho"] is None and rows[1].differences["rho"] == {"difference": None, "interval": None}
    assert rows[1].differences["mae"]["interval"] is not None
    assert "nan" not in markdown(rows)


def test_files(tmp_path):
    rows = compare([write_run(tmp_path / "one"), write_run(tmp_path / "two", 2, head="usdl")])
    write(tmp_path / "table.csv", rows)
    table = read_csv(tmp_path / "table.csv")
    assert table["head"] == ["dae", "usdl"] and table["d_rho"][0] == ""
    assert float(table["d_rho_low"][1]) == rows[1].differences["rho"]["interval"][0]
    write(tmp_path / "table.json", rows)
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["schema"] == "aqa_jax.compare/1" and content["runs"][1]["differences"] == rows[1].differences
    with pytest.raises(ConfigError, match=r"writes \.csv or \.json"):
        write(tmp_path / "table.txt", rows)


def test_what_is_no_run_is_named(tmp_path):
    good = write_run(tmp_path / "one")
    with pytest.raises(ConfigError, match="at least two runs"):
        compare([good])
    with pytest.raises(DataError, match=r"nothing has no results: neither evaluation/metrics\.json"):
        compare([good, tmp_path / "nothing"])
    with pytest.raises(DataError, match="before the protocol fingerprint: --mode evaluate"):
        compare([good, write_run(tmp_path / "old", print_="none")])
    (good / "evaluation" / "predictions.csv").unlink()
    with pytest.raises(DataError, match=r"no predictions\.csv: only runs that score"):
        compare([good, good])
