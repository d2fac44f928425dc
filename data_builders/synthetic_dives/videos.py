"""A few rendered dives as ordinary video files with a table of their truth: something to predict on."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import cv2

from aqa_jax.errors import DataError

from . import world

TEST_ATHLETE = 10_000  # these divers are in no split
FACTS = ("score", "difficulty", "true_quality", "judge_sigma", "position", "rotation_type", "ss_no", "tw_no")
COLUMNS = ("file", *FACTS)


def write_videos(
    folder: str | os.PathLike,
    *,
    count: int = 4,
    seed: int = 0,
    first_index: int = 1_000_000,
    size: int = 128,
    fps: float = 25.0,
) -> list[Path]:
    """Render ``count`` dives to ``folder/dive_00.mp4`` … and their truth to ``folder/truth.csv``.

    The dives are those of no dataset as long as ``first_index`` is past the dataset's size. ``size`` is in
    pixels a side; the codec is mp4v. Returns the video files, in the order of the table.

    Raises:
      DataError: OpenCV cannot write the file, or was built without the codec.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for k in range(count):
        dive = world.sample_dive(seed, first_index + k, TEST_ATHLETE + k)
        path = folder / f"dive_{k:02d}.mp4"
        _write_video(path, world.render(dive, size=size), size, fps)
        paths.append(path)
        rows.append({"file": path.name, **{name: getattr(dive, name) for name in FACTS}})
    _write_table(folder / "truth.csv", rows)
    return paths


def _write_video(path: Path, frames, size: int, fps: float) -> None:
    partial = path.with_name(f"partial_{path.name}")  # the writer goes by the suffix
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, (size, size))
    if not writer.isOpened():
        raise DataError(f"cannot write {path}: no mp4v encoder in this OpenCV, or a read-only folder")
    try:
        for frame in frames:
            writer.write(frame[:, :, ::-1])
    finally:
        writer.release()
    os.replace(partial, path)


def _write_table(path: Path, rows: Sequence[dict]) -> None:
    partial = path.with_name(f"partial_{path.name}")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
