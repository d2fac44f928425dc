"""A few rendered videos of tapping as ordinary files with a table of their truth: something to predict on."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from aqa_jax.errors import DataError

from . import render, world

FIRST_PATIENT = 20_000  # these patients are in no split
FIRST_INDEX = 3_000_000


def write_videos(
    folder: str | os.PathLike[str], *, count: int = 4, seed: int = 0, size: int = 144, movement: str = "tap"
) -> list[Path]:
    """Render ``count`` videos to ``folder/tap_00.mp4`` … and their truth to ``folder/truth.csv``.

    ``size`` is in pixels a side; the codec is mp4v. The table has the columns `file` and `difficulty` (always 1:
    the movement has none), and those of :func:`render.truth`. Returns the files in the order of the table.

    Raises:
      DataError: OpenCV cannot write the file, or was built without the codec.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for k in range(count):
        side = world.SIDES[k % 2]
        video = world.sample_video(seed, FIRST_INDEX + k, FIRST_PATIENT + k, side, movement=movement)
        path = folder / f"{movement}_{k:02d}.mp4"
        _write_video(path, world.render(video, size=size), size)
        paths.append(path)
        rows.append({"file": path.name, "difficulty": 1.0, "side": side, **render.truth(video)})
    if rows:
        _write_table(folder / "truth.csv", rows)
    return paths


def _write_video(path: Path, frames: np.ndarray, size: int) -> None:
    partial = path.with_name(f"partial_{path.name}")  # the writer goes by the suffix
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(partial), codec, world.FRAMES_PER_SECOND, (size, size))
    if not writer.isOpened():
        raise DataError(f"cannot write {path}: no mp4v encoder in this OpenCV, or a read-only folder")
    try:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    finally:
        writer.release()
    os.replace(partial, path)


def _write_table(path: Path, rows: Sequence[dict]) -> None:
    partial = path.with_name(f"partial_{path.name}")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
