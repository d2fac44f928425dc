"""A dataset in figures: videos, groups, scores and lengths of every split."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aqa_jax.data.video_store import VideoTable
from aqa_jax.train.run import Run


def splits_of(run: Run) -> dict[str, np.ndarray]:
    """Rows of train, validation and test, as the run uses them, and of what it does not use, by split."""
    table = run.store.table
    found = {name: rows for name, rows in run.rows.items() if len(rows)}
    used = np.concatenate(list(found.values()))
    for split in dict.fromkeys(table.column("split")):
        rest = np.setdiff1d(table.rows(split), used)
        if len(rest):
            name = split if split not in found else f"{split}, not used"
            found[name] = rest
    return found


def facts_of(table: VideoTable, rows: np.ndarray) -> dict[str, Any]:
    """Counts, and [lowest, median, highest] of scores and of frames, where there are any."""
    scores = table.column("score")[rows].astype(float)
    scores = scores[np.isfinite(scores)]
    return {
        "videos": len(rows),
        "groups": len(set(table.column("group")[rows])),
        "labelled": len(scores),
        "score": _range(scores) if len(scores) else None,
        "frames": _range(table.column("num_frames")[rows]),
    }


def _range(values: np.ndarray) -> list[float]:
    return [float(np.min(values)), float(np.median(values)), float(np.max(values))]


def table_of(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """The facts as an aligned table: lowest, median and highest with dots between."""
    lines = [["split", "videos", "groups", "labelled", "scores", "frames"]]
    for split, row in facts.items():
        counts = [f"{row[name]:,}" for name in ("videos", "groups", "labelled")]
        lines.append([split, *counts, _dots(row["score"]), _dots(row["frames"])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs = ("<", ">", ">", ">", "<", "<")
    return "\n".join(
        "  ".join(f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True)).rstrip()
        for line in lines
    )


def _dots(values: list[float] | None) -> str:
    return "–" if values is None else " · ".join(f"{value:,.6g}" for value in values)
