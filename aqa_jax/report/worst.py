"""The test videos on which a run was most wrong."""

from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax.config import Config
from aqa_jax.data.sampling import clip_window
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import AqaError
from aqa_jax.evaluate.results import read_predictions
from aqa_jax.report import images

CASES = 8
FRAMES = 16


def worst_cases(
    predictions: Path, config: Config, fingerprint: str, *, thumbnails: bool, names: bool, cases: int = CASES
) -> dict[str, Any]:
    """The videos with the largest absolute errors, for the report.

    Args:
      predictions: predictions.csv of the run.
      config: of the run; says where the dataset lies.
      fingerprint: of the dataset that was evaluated.
      thumbnails: whether their pictures may be shown.
      names: whether ids and groups may be shown.
      cases: how many.

    Returns:
      ``rows``, the worst first, and ``without``: why there are no pictures, or "".
    """
    columns = read_predictions(predictions)
    label = np.asarray(columns["score"], float)
    point = np.asarray(columns.get("point", columns["mean"]), float)
    error = point - label
    worst = np.argsort(-np.abs(error), kind="stable")[:cases]
    pictures, without = _pictures([columns["id"][i] for i in worst], config, fingerprint) if thumbnails else ({}, "")
    rows = []
    for place, i in enumerate(worst, start=1):
        low, high = float(columns["low90"][i]), float(columns["high90"][i])
        rows.append({
            "name": columns["id"][i] if names else f"case {place}",
            "group": columns["group"][i] if names and "group" in columns else "",
            "label": label[i], "score": point[i], "error": error[i], "low": low, "high": high,
            "inside": bool(low <= label[i] <= high),
            "unfamiliar": bool(columns["unfamiliar"][i]) if "unfamiliar" in columns else False,
            "picture": pictures.get(columns["id"][i]),
        })  # fmt: skip
    return {"rows": rows, "without": without}


def _pictures(ids: list[str], config: Config, fingerprint: str) -> tuple[dict[str, tuple[str, str]], str]:
    """An animation and a still of each video, as data URIs; or why there are none. Never builds a dataset."""
    from aqa_jax import config as config_lib
    from aqa_jax.data import build

    data = config.data
    try:
        directory = build.find(
            data.builder, data_dir=data.data_dir, raw_dir=data.raw_dir or None,
            options=config_lib.all_options(data),
        )  # fmt: skip
        if directory is None:
            return {}, "No pictures: the dataset is not in config.data.data_dir."
        store = VideoStore.open(directory)
        if store.fingerprint != fingerprint:
            return {}, "No pictures: the dataset in config.data.data_dir is not the one that was evaluated."
        window, found = clip_window(config.data), {}
        for name in ids:
            row = store.table.row(name)
            length, start = (int(store.table.column(column)[row]) for column in ("num_frames", "eval_start"))
            seen = np.unique(window.evaluate(length, start))
            frames = store.read(row, seen[np.linspace(0, len(seen) - 1, min(FRAMES, len(seen))).astype(int)])
            found[name] = images.moving(frames), images.still(frames[len(frames) // 2])
        return found, ""
    except (AqaError, OSError):
        return {}, "No pictures: the dataset cannot be read; --mode check says why."
