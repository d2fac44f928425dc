"""Where JIGSAWS's videos lie: the release's avi files, or MUSDL's folders of images."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aqa_jax.data.decode import check_video
from aqa_jax.errors import ConfigError, DataError, DecodeError

from .annotations import PARENTS, Trial

LAYOUTS = ("auto", "videos", "frames")
FRAME_FOLDERS = ("frames", "data/frames", "JIGSAWS/data/frames")
_IMAGE = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Source:
    """An avi file, or a folder with the names of its images in order."""

    path: str
    names: tuple[str, ...] = ()


def find(
    raw_dir: Path,
    trials: Sequence[Trial],
    tasks: Sequence[str],
    *,
    capture: int,
    layout: str = "auto",
    frames_dir: str = "",
    left_out: Sequence[str] = (),
) -> tuple[dict[str, Source], list[str]]:
    """The source of every trial, by id, and the ids of videos that have no label.

    Args:
      raw_dir: folder of the raw data.
      trials: the labelled trials.
      tasks: of which unlabelled videos are looked for.
      capture: 1 (left view) or 2.
      layout: videos (`<task>/video/<trial>_capture1.avi`), frames (`<trial>_capture1/*.jpg`), or whichever is there.
      frames_dir: folder of the folders of images below `raw_dir`; empty: looked for.
      left_out: ids that are left out on purpose, and so not reported.

    Raises:
      ConfigError: an option has no such value.
      DataError: trials without a video, folders without images, files that do not open; all are named.
    """
    found = _paths(raw_dir, tasks, capture, layout, frames_dir)
    missing = [trial.id for trial in trials if trial.id not in found]
    if missing:
        looked = f"<task>/video/<trial>_capture{capture}.avi and frames/<trial>_capture{capture}/"
        raise DataError(
            f"JIGSAWS: {len(missing)} of {len(trials)} labelled trials have no video in {raw_dir} (looked for "
            f"{looked}; complete them, choose a task with the option task, or leave them out with exclude): "
            f"{', '.join(missing)}"
        )
    sources, wrong = {}, []
    for trial in trials:
        path = found[trial.id]
        names = _images(path) if path.is_dir() else ()
        if path.is_dir() and not names:
            wrong.append(f"{trial.id}: no images in {path}")
        if not path.is_dir():
            try:
                check_video(path)
            except DecodeError as error:
                wrong.append(f"{trial.id}: {error}")
        sources[trial.id] = Source(str(path), names)
    if wrong:
        raise DataError("\n  ".join([f"JIGSAWS: {len(wrong)} of {len(trials)} videos cannot be read:", *wrong]))
    return sources, sorted(set(found) - set(sources) - set(left_out))


def sources(
    raw_dir: Path, tasks: Sequence[str], *, capture: int, layout: str = "auto", frames_dir: str = ""
) -> dict[str, Source]:
    """What lies there, labelled or not, by trial; nothing is opened. Arguments and errors are those of `find`."""
    found = _paths(raw_dir, tasks, capture, layout, frames_dir)
    return {id_: Source(str(path), _images(path) if path.is_dir() else ()) for id_, path in found.items()}


def _paths(raw_dir: Path, tasks: Sequence[str], capture: int, layout: str, frames_dir: str) -> dict[str, Path]:
    if layout not in LAYOUTS:
        raise ConfigError(f"option layout: {layout!r} is not one of {', '.join(LAYOUTS)}")
    if capture not in (1, 2):
        raise ConfigError(f"option capture: {capture} is neither 1 nor 2")
    found: dict[str, Path] = {}
    if layout != "videos":
        found = _in_folder(_frames_folder(raw_dir, frames_dir), capture, "")
    if not found and layout != "frames":
        for task in tasks:
            folders = [raw_dir / parent / task / "video" for parent in PARENTS]
            found |= _in_folder(next((folder for folder in folders if folder.is_dir()), None), capture, ".avi")
    return {id_: path for id_, path in found.items() if id_.rsplit("_", 1)[0] in tasks}


def _frames_folder(raw_dir: Path, given: str) -> Path | None:
    if given and not (raw_dir / given).is_dir():
        raise DataError(f"option frames_dir: no folder {raw_dir / given}")
    candidates = [raw_dir / folder for folder in ([given] if given else FRAME_FOLDERS)]
    return next((path for path in candidates if path.is_dir()), None)


def _in_folder(folder: Path | None, capture: int, suffix: str) -> dict[str, Path]:
    """Trial -> `<folder>/<trial>_capture<n><suffix>`."""
    if folder is None:
        return {}
    pattern = re.compile(rf"([A-Za-z_]+_[A-Z]\d{{3}})_capture{capture}{re.escape(suffix)}")
    with os.scandir(folder) as entries:
        return {
            match[1]: Path(entry.path)
            for entry in entries
            if (match := pattern.fullmatch(entry.name)) and entry.is_dir() == (not suffix)
        }


def _images(folder: Path) -> tuple[str, ...]:
    """Names of the images, by the last number in them: as sorted by name where numbers have leading zeros."""

    def order(name: str) -> tuple[int, str]:
        numbers = re.findall(r"\d+", name)
        return (int(numbers[-1]) if numbers else -1, name)

    with os.scandir(folder) as entries:
        return tuple(sorted((e.name for e in entries if e.name.lower().endswith(_IMAGE)), key=order))
