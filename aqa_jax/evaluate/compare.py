"""Runs side by side: their figures, and how they differ from the first one on the same test videos."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from aqa_jax.errors import ConfigError, DataError
from aqa_jax.evaluate import calibration, results
from aqa_jax.evaluate import crossval as crossvals
from aqa_jax.evaluate.metrics import CONFIDENCE, MAX_DEGENERATE, MIN_BOOTSTRAP_EXAMPLES, spearman
from aqa_jax.evaluate.protocol import differing_parts
from aqa_jax.files import write_csv, write_json

SCHEMA = "aqa_jax.compare/1"
FIGURES = ("rho", "rl2", "mae", "nll", "crps", "coverage_90", "uncertainty_tau")
PAIRED = ("rho", "mae", "crps")
RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Fold:
    """Predictions of S seeds on the N test videos of a fold; ``y`` is [N], the others [S, N] in score points."""

    ids: tuple[str, ...]
    y: np.ndarray
    point: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray


@dataclass
class Row:
    """A run, or the mean over the folds of a cross-validation.

    Attributes:
      name: the path, as it was given.
      head: the scoring method.
      rule: by which the step was chosen.
      num_examples: test videos.
      figures: by name; None where undefined.
      fingerprint: of the protocol.
      folds: the predictions; a single run is one fold.
      problem: why there are no predictions.
      interval: of rho, 95 %.
      differences: to the first row: for each of `PAIRED` its "difference" and "interval", which may be None.
      unpaired: why there are no differences.
      differs: the parts of the protocol that are not the first row's.
    """

    name: str
    head: str
    rule: str
    num_examples: int
    figures: dict[str, float | None]
    fingerprint: dict[str, Any]
    folds: dict[str, Fold]
    problem: str = ""
    interval: list[float] | None = None
    differences: dict[str, dict[str, Any]] = field(default_factory=dict)
    unpaired: str = ""
    differs: list[str] = field(default_factory=list)


def compare(runs: Sequence[str | os.PathLike[str]], *, allow_different_protocols: bool = False) -> list[Row]:
    """A row for every run, with its differences to the first.

    A difference's interval is the 95 % percentile bootstrap over test videos, the same videos for both; those of a
    cross-validation are drawn within their folds, and the mean over folds (and seeds) is compared. It is about the draw
    of the test videos, not about that of the seed.

    Args:
      runs: workdirs of runs or cross-validations, or evaluation folders.
      allow_different_protocols: compare, and mark what differs, instead of refusing.

    Raises:
      ConfigError: fewer than two runs; protocols that differ, with the parts.
      DataError: a run has no results, or they are damaged or from before the fingerprint.
    """
    if len(runs) < 2:
        raise ConfigError("--mode compare needs at least two runs: run.py --mode compare RUN RUN ...")
    rows = [load(run) for run in runs]
    first = rows[0]
    for row in rows[1:]:
        if row.fingerprint["id"] != first.fingerprint["id"]:
            row.differs = differing_parts(first.fingerprint, row.fingerprint)
    if any(row.differs for row in rows) and not allow_different_protocols:
        listed = "".join(f"\n  {row.name}: {_some(row.differs)}" for row in rows if row.differs)
        raise ConfigError(
            f"Other protocols than that of {first.name}, so that the figures do not compare:{listed}\n"
            "--allow_different_protocols prints the table all the same, with these parts beside it."
        )
    for row in rows:
        row.interval = _interval_of_rho(row)
    for row in rows[1:]:
        row.unpaired = _why_unpaired(first, row)
        if not row.unpaired:
            row.differences = _differences(first.folds, row.folds)
    return rows


def load(run: str | os.PathLike[str]) -> Row:
    """The row of a run's workdir, of a cross-validation's, or of an evaluation folder.

    Raises:
      DataError: there are no results, or they are damaged or from before the fingerprint.
    """
    path = Path(run)
    if (path / crossvals.RESULT).exists():
        return _load_crossval(path)
    folder = path / "evaluation" if (path / "evaluation" / "metrics.json").exists() else path
    if not (folder / "metrics.json").exists():
        raise DataError(
            f"{path} has no results: neither evaluation/metrics.json of a run, nor {crossvals.RESULT} of a "
            "cross-validation. Finish it first."
        )
    content = results.read_metrics(folder / "metrics.json")
    if "protocol_fingerprint" not in content:
        raise DataError(f"{folder}/metrics.json is from before the protocol fingerprint: --mode evaluate writes it.")
    if not (folder / "predictions.csv").exists():
        raise DataError(f"{folder} has no predictions.csv: only runs that score videos can be compared.")
    config = path / "config.json"
    head = json.loads(config.read_text())["head"]["name"] if config.exists() else "—"
    return Row(
        str(run), head, content["selection"]["rule"], content["num_examples"],
        {name: content["metrics"].get(name) for name in FIGURES}, content["protocol_fingerprint"],
        {"": _fold([folder / "predictions.csv"])},
    )  # fmt: skip


def _load_crossval(path: Path) -> Row:
    content = crossvals.read(path)
    means = content["means"][content["selection"]]
    files: dict[str, list[Path]] = {}
    for run in content["runs"]:
        # Seeds alone are as one run.
        fold = run["fold"] if content["protocol"]["column"] else ""
        files.setdefault(fold, []).append(path / run["workdir"] / "evaluation" / "predictions.csv")
    problem = ""
    if failed := content["failed"]:
        problem = f"{len(failed)} of {len(content['runs'])} runs of {path} failed"
    return Row(
        str(path), content["head"], content["selection"], sum(content["protocol"]["folds"].values()),
        {name: means.get(name, {}).get("arithmetic", {}).get("mean") for name in FIGURES},
        content["protocol_fingerprint"], {} if problem else {fold: _fold(some) for fold, some in files.items()},
        problem,
    )  # fmt: skip


def _fold(files: Sequence[Path]) -> Fold:
    seeds = [results.read_predictions(path) for path in files]
    ids = tuple(sorted(seeds[0]["id"]))
    orders = []
    for path, columns in zip(files, seeds, strict=True):
        if tuple(sorted(columns["id"])) != ids:
            raise DataError(f"{path} has other videos than {files[0]}")
        orders.append(np.argsort(np.array(columns["id"], object)))

    def stacked(name: str) -> np.ndarray:
        pairs = zip(seeds, orders, strict=True)
        return np.stack([np.asarray(columns.get(name, columns["mean"]), float)[order] for columns, order in pairs])

    return Fold(ids, stacked("score")[0], stacked("point"), stacked("mean"), stacked("sigma"))


def _why_unpaired(first: Row, row: Row) -> str:
    if first.problem or row.problem:
        return first.problem or row.problem
    if first.folds.keys() != row.folds.keys():
        return "other folds"
    for name, fold in row.folds.items():
        where = f" in fold {name}" if name else ""
        if fold.ids != first.folds[name].ids:
            shared = len(set(fold.ids) & set(first.folds[name].ids))
            return f"other test videos{where}: {shared} of {len(fold.ids)} are shared"
        if not np.array_equal(fold.y, first.folds[name].y):
            return f"the same test videos{where} have other labels"
    return ""


def _statistics(folds: Mapping[str, Fold], indices: Sequence[np.ndarray]) -> np.ndarray:
    """`PAIRED` figures [3, R] of R resamples, each the mean over folds and seeds; `indices` are int [R, N] by fold."""
    totals = []
    for fold, index in zip(folds.values(), indices, strict=True):
        y, error = fold.y[index], np.abs(fold.y - fold.point)
        crps = calibration.gaussian_crps(fold.y, fold.mean, fold.sigma)
        rho = np.mean([spearman(y, point[index]) for point in fold.point], 0)
        totals.append(np.stack([rho, error.mean(0)[index].mean(-1), crps.mean(0)[index].mean(-1)]))
    return np.mean(totals, 0)


def _bootstrapped(statistic: Any, folds: Mapping[str, Fold]) -> tuple[np.ndarray, list[list[float] | None]]:
    """The statistic itself [K], and its percentile intervals over videos drawn within their folds."""
    samples = tuple(np.arange(len(fold.ids)) for fold in folds.values())
    value = statistic(*(sample[None] for sample in samples), axis=-1)[:, 0]
    count = sum(len(sample) for sample in samples)
    if count < MIN_BOOTSTRAP_EXAMPLES:
        return value, [None] * len(value)
    with warnings.catch_warnings():
        # A resample can be constant: its NaN is left out below, where scipy would give up the whole interval.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        drawn = stats.bootstrap(
            samples, statistic, n_resamples=RESAMPLES, method="percentile", vectorized=True, axis=-1,
            batch=max(1, 1_000_000 // count), rng=np.random.default_rng(SEED),
        ).bootstrap_distribution  # fmt: skip
    intervals: list[list[float] | None] = []
    for values in drawn:
        finite = values[np.isfinite(values)]
        whole = finite.size >= (1 - MAX_DEGENERATE) * RESAMPLES
        ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        intervals.append(np.quantile(finite, ends).tolist() if whole else None)
    return value, intervals


def _interval_of_rho(row: Row) -> list[float] | None:
    if not row.folds or row.figures["rho"] is None:
        return None

    def statistic(*indices: np.ndarray, axis: int) -> np.ndarray:
        return _statistics(row.folds, indices)

    return _bootstrapped(statistic, row.folds)[1][PAIRED.index("rho")]


def _differences(first: Mapping[str, Fold], other: Mapping[str, Fold]) -> dict[str, dict[str, Any]]:
    """Of `other` less `first`."""

    def statistic(*indices: np.ndarray, axis: int) -> np.ndarray:
        return _statistics({name: other[name] for name in first}, indices) - _statistics(first, indices)

    value, intervals = _bootstrapped(statistic, first)
    return {
        name: {"difference": float(value[k]) if np.isfinite(value[k]) else None, "interval": intervals[k]}
        for k, name in enumerate(PAIRED)
    }


def markdown(rows: Sequence[Row]) -> str:
    """The table for the terminal."""
    header = ["run", "head", "rule", "n", "rho", *FIGURES[1:], *(f"Δ {name}" for name in PAIRED)]
    lines = [_line(header), _line(["---"] * len(header))]
    for number, row in enumerate(rows):
        marked = f"{row.name} *" if row.differs else row.name
        rho = _number(row.figures["rho"]) + _ends(row.interval)
        cells = [marked, row.head, row.rule, str(row.num_examples), rho]
        cells += [_number(row.figures[name]) for name in FIGURES[1:]]
        found = (row.differences.get(name) for name in PAIRED)
        cells += [_change(change) if number else "reference" for change in found]
        lines.append(_line(cells))
    lines += ["", f"[95 % interval: bootstrap over test videos, {RESAMPLES} resamples, seed {SEED}]; Δ: less the first "
              "run's, on the same test videos; of a cross-validation, means over folds and seeds."]  # fmt: skip
    for row in rows:
        if row.differs:
            lines.append(f"* {row.name}: ANOTHER PROTOCOL than {rows[0].name}: {_some(row.differs)}")
        if row.unpaired:
            lines.append(f"{row.name}: no differences: {row.unpaired}")
    return "\n".join(lines)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Writes the table as .csv or .json.

    Raises:
      ConfigError: the name ends otherwise.
    """
    if path.suffix == ".json":
        content = [
            {
                "run": row.name, "head": row.head, "rule": row.rule, "num_examples": row.num_examples,
                "figures": row.figures, "rho_interval": row.interval, "differences": row.differences,
                "unpaired": row.unpaired, "protocol_fingerprint": row.fingerprint, "differs": row.differs,
            }
            for row in rows
        ]  # fmt: skip
        settings = {"level": CONFIDENCE, "resamples": RESAMPLES, "seed": SEED}
        write_json(path, {"schema": SCHEMA, **settings, "runs": content})
    elif path.suffix == ".csv":
        lines = [_flat(row) for row in rows]
        write_csv(path, {name: [line[name] for line in lines] for name in lines[0]})
    else:
        raise ConfigError(f"--output {path}: --mode compare writes .csv or .json.")


def _flat(row: Row) -> dict[str, Any]:
    low, high = row.interval or (None, None)
    line: dict[str, Any] = {"run": row.name, "head": row.head, "rule": row.rule, "num_examples": row.num_examples}
    line |= {"rho": row.figures["rho"], "rho_low": low, "rho_high": high}
    line |= {name: row.figures[name] for name in FIGURES[1:]}
    for name in PAIRED:
        change = row.differences.get(name, {})
        low, high = change.get("interval") or (None, None)
        line |= {f"d_{name}": change.get("difference"), f"d_{name}_low": low, f"d_{name}_high": high}
    return line | {
        "unpaired": row.unpaired, "protocol_fingerprint": row.fingerprint["id"], "differs": "; ".join(row.differs),
    }  # fmt: skip


def _change(change: Mapping[str, Any] | None) -> str:
    if change is None or change["difference"] is None:
        return "—"
    return f"{change['difference']:+.3f}" + _ends(change["interval"])


def _ends(interval: Sequence[float] | None) -> str:
    return f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval is not None else ""


def _some(parts: Sequence[str], limit: int = 8) -> str:
    return "; ".join(parts[:limit]) + (f"; and {len(parts) - limit} more" if len(parts) > limit else "")


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
