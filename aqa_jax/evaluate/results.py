"""The result files of an evaluation: predictions.csv and metrics.json."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from aqa_jax import __version__
from aqa_jax.errors import DataError, RunError
from aqa_jax.evaluate import calibration
from aqa_jax.files import read_csv, read_json, write_csv, write_json

METRICS_SCHEMA = "aqa_jax.metrics/1"
_TEXT_COLUMNS = ("id", "split", "group")
_REQUIRED_COLUMNS = ("id", "split", "score", "mean")
_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "scipy",
    "opencv-python-headless",
)


def prediction_columns(
    ids: Sequence[str],
    split: str,
    score: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray | None = None,
    difficulty: np.ndarray | None = None,
    *,
    intervals: np.ndarray | None = None,
    **extra: Sequence[Any] | np.ndarray,
) -> dict[str, Any]:
    """The columns of predictions.csv: one row an example [N], low90 and high90 from a normal distribution.

    A method without sigma leaves sigma, low90 and high90 empty. `extra` columns follow in their order. Given
    `intervals` [N, L, 2] at `calibration.LEVELS` take the normal distribution's place, those of the other levels last.
    """
    empty = [None] * len(ids)
    low, high = (empty, empty) if sigma is None else calibration.gaussian_interval(mean, sigma, 0.9)
    others = {}
    if intervals is not None:
        limits = dict(zip(calibration.LEVELS, np.moveaxis(intervals, 1, 0), strict=True))
        low, high = limits.pop(90).T
        others = {
            f"{end}{level}": pair[:, k] for level, pair in limits.items() for k, end in enumerate(("low", "high"))
        }
    return {
        "id": list(ids),
        "split": [split] * len(ids),
        "score": score,
        "mean": mean,
        "sigma": empty if sigma is None else sigma,
        "low90": low,
        "high90": high,
        "difficulty": empty if difficulty is None else difficulty,
        **extra,
        **others,
    }


def write_predictions(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Writes predictions.csv from `prediction_columns`, atomically.

    Raises:
      RunError: a column is missing, an id comes twice, or a prediction is not finite; the message names them.
    """
    missing = [name for name in _REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise RunError(f"{path}: predictions lack the columns {', '.join(missing)}")
    ids = list(columns["id"])
    if len(set(ids)) != len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise RunError(f"{path}: predicted more than once: {', '.join(twice[:10])}")
    bad = [name for name, mean in zip(ids, columns["mean"], strict=True) if not np.isfinite(mean)]
    if bad:
        raise RunError(f"{path}: the predicted score is not finite for: {', '.join(bad[:10])}")
    write_csv(path, columns)


def read_predictions(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads predictions.csv: lists of text for id, split and group, float64 [N] with NaN for empty cells.

    Other columns that do not hold numbers are lists of text too.

    Raises:
      DataError: the file is missing or damaged.
    """
    text = read_csv(path)
    missing = [name for name in _REQUIRED_COLUMNS if name not in text]
    if missing:
        raise DataError(f"{path} is no predictions file: it lacks the columns {', '.join(missing)}")
    return {name: cells if name in _TEXT_COLUMNS else _numbers(cells) for name, cells in text.items()}


def write_metrics(
    path: str | os.PathLike[str],
    metrics: Mapping[str, Any],
    *,
    split: str,
    protocol: str,
    selection: Mapping[str, Any],
    config_hash: str,
    dataset_fingerprint: str,
    checkpoint_step: int,
    seed: int,
    **extra: Any,
) -> None:
    """Writes metrics.json: the figures, and all that a reader must know to believe them, atomically.

    Holds no time stamp: the same run gives the same file to the byte.

    Args:
      path: the file.
      metrics: what `score_metrics` returned.
      split: the split that was evaluated.
      protocol: name of the evaluation protocol.
      selection: `Selection.to_dict()` of the rule by which the step was chosen.
      config_hash: hash of the resolved configuration.
      dataset_fingerprint: hash of the table and the records of the dataset.
      checkpoint_step: step of the evaluated weights.
      seed: seed of the run.
      **extra: further entries, for instance `all_selections`.

    Raises:
      RunError: a number is not finite.
    """
    content = {
        "schema": METRICS_SCHEMA,
        "split": split,
        "protocol": protocol,
        "selection": dict(selection),
        "checkpoint_step": checkpoint_step,
        "config_hash": config_hash,
        "dataset_fingerprint": dataset_fingerprint,
        "seed": seed,
        "num_examples": metrics["num_examples"],
        "metrics": dict(metrics),
        **extra,
        "versions": versions(),
    }
    write_json(path, content)


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads metrics.json.

    Raises:
      DataError: the file is missing, damaged, or of another schema version.
    """
    return read_json(path, METRICS_SCHEMA)


def versions() -> dict[str, str]:
    """Versions of Python, this library, and the packages that figures depend on."""
    found = {"python": platform.python_version(), "aqa_jax": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _numbers(cells: list[str]) -> np.ndarray | list[str]:
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return cells
