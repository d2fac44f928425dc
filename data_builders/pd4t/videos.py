"""Where PD4T's videos lie: mp4 files by patient or by side, or folders of extracted frames."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aqa_jax.data.decode import check_video
from aqa_jax.errors import ConfigError, DataError, DecodeError

from .annotations import TASK_FOLDERS, Entry, find_folder, same_name

LAYOUTS = ("auto", "videos", "frames")
_IMAGE = re.compile(r"img_(\d{5,})\.jpg")


@dataclass(frozen=True)
class Source:
    """Where one video's frames come from.

    Attributes:
      path: an mp4 file, or a folder of img_%05d.jpg.
      first: number of the first image of a folder.
      count: images of a folder; 0 for a file, whose frames are counted when it is decoded.
    """

    path: str
    first: int = 0
    count: int = 0


def choose_layout(option: str, raw_dir: Path, annotations_dir: str, train_list: Path) -> str:
    """ "videos" or "frames": as the option says, or as the annotations that are there suggest."""
    if option not in LAYOUTS:
        raise ConfigError(f"option layout: {option!r} is not one of {', '.join(LAYOUTS)}")
    if option != "auto":
        return option
    try:
        find_folder(raw_dir, "Annotations", annotations_dir, "annotations_dir")
    except DataError as error:
        if train_list.is_file():
            return "frames"
        raise DataError(f"{error}; or, for extracted frames, give a list file: there is no {train_list}") from error
    return "videos"


def find_videos(
    folder: Path, entries: Sequence[Entry], left_out: Sequence[Entry] = ()
) -> tuple[dict[str, Source], list[str]]:
    """The mp4 file of every entry, by id, and the files below the tasks' folders that no annotation names.

    Both layouts, whichever has the file: `<task>/<patient>/<visit>[_<side>].mp4` and `<task>/<side>/<visit>.mp4`,
    with or without side and patient at the end of the file's name.

    Raises:
      DataError: entries without a video, several with the same one, files that are no videos; all are named.
    """
    found: dict[str, Source] = {}
    unlisted: list[str] = []
    missing: list[str] = []
    of_file: dict[Path, list[Entry]] = defaultdict(list)
    for task in dict.fromkeys(entry.task for entry in entries):
        own = [entry for entry in entries if entry.task == task]
        parent, files = _of_task(folder, task)
        matches = {entry.id: _match(files, entry) for entry in own}
        if not any(matches.values()):
            looked = parent or folder / TASK_FOLDERS[task]
            raise DataError(
                f"none of the {len(own)} videos of {task} is in {looked}: "
                f"looked for {' and '.join(_names(own[0]))} first; name the folder with the option videos_dir"
            )
        for entry in own:
            path = matches[entry.id]
            if path is None:
                missing.append(f"{entry.id} ({entry.where}): no {_names(entry)[0]} in {parent}")
            else:
                of_file[path].append(entry)
                found[entry.id] = Source(str(path))
        named = {name for entry in left_out if entry.task == task for name in _names(entry)}
        rest = [path for name, path in files.items() if path not in of_file and name not in named]
        unlisted += [str(path.relative_to(folder)) for path in rest]
    _refuse(missing, len(entries), "have no video")
    shared = [f"{' and '.join(e.id for e in some)}: {path}" for path, some in of_file.items() if len(some) > 1]
    _refuse(shared, len(of_file), "files would belong to several videos")
    broken = []
    for path in of_file:
        try:
            check_video(path)
        except DecodeError as error:
            broken.append(f"{of_file[path][0].id}: {error}")
    _refuse(broken, len(entries), "videos cannot be opened")
    return found, sorted(unlisted)


def files_of(folder: Path, entries: Sequence[Entry]) -> dict[str, Path | str]:
    """The mp4 file of every entry, by id, or in words where it would have to be."""
    by_task = {task: _of_task(folder, task) for task in dict.fromkeys(entry.task for entry in entries)}
    found: dict[str, Path | str] = {}
    for entry in entries:
        parent, files = by_task[entry.task]
        looked = parent or folder / TASK_FOLDERS[entry.task]
        found[entry.id] = _match(files, entry) or f"no {_names(entry)[0]} in {looked}"
    return found


def _of_task(folder: Path, task: str) -> tuple[Path | None, dict[str, Path]]:
    parent = same_name(folder, TASK_FOLDERS[task])
    return parent, _mp4_files(parent) if parent else {}


def _match(files: dict[str, Path], entry: Entry) -> Path | None:
    return next((files[name] for name in _names(entry) if name in files), None)


def _mp4_files(folder: Path) -> dict[str, Path]:
    """Relative path in lower case -> path, of every mp4 file below `folder`."""
    found = {}
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in sorted(names):
            if name.lower().endswith(".mp4") and not name.startswith("."):
                path = Path(parent, name)
                found[path.relative_to(folder).as_posix().lower()] = path
    return found


def _names(entry: Entry) -> list[str]:
    """Relative paths at which an entry's video may lie, the documented ones first."""
    visit = entry.visit.lower()
    if not entry.side:
        return [f"{entry.patient}/{visit}.mp4", f"{entry.patient}/{visit}_{entry.patient}.mp4"]
    sided = f"{visit}_{entry.side}"
    return [
        f"{entry.patient}/{sided}.mp4",
        f"{entry.side}/{sided}.mp4",
        f"{entry.side}/{visit}.mp4",
        f"{entry.patient}/{sided}_{entry.patient}.mp4",
        f"{entry.side}/{sided}_{entry.patient}.mp4",
        f"{entry.side}/{visit}_{entry.patient}.mp4",
    ]


def find_frames(
    folders: dict[str, Path], entries: Sequence[Entry], left_out: Sequence[Entry] = ()
) -> tuple[dict[str, Source], list[str]]:
    """The folder `<folder of the task>/<patient>/<sample>` of every entry, by id, and those that no list names.

    Images are numbered from 0 or 1 without a gap. How many there are decides, not what the list claims.

    Raises:
      DataError: folders are missing or empty, or numbers are; all are named.
    """
    found: dict[str, Source] = {}
    wrong = []
    for entry in entries:
        source = images_of(folders[entry.task] / entry.name)
        if isinstance(source, str):
            wrong.append(f"{entry.id} ({entry.where}): {source}")
        else:
            found[entry.id] = source
    _refuse(wrong, len(entries), "lack frames")
    used = {folders[entry.task] / entry.name for entry in (*entries, *left_out)}
    there = {path for folder in set(folders.values()) for path in folder.glob("*/*") if path.is_dir()}
    return found, sorted(str(path) for path in there - used)


def images_of(folder: Path) -> Source | str:
    """The images of a folder, or what is wrong with them."""
    numbers = _numbers(folder)
    if numbers is None:
        return f"no folder {folder}"
    if not numbers:
        return f"no img_*.jpg in {folder}"
    if gap := sorted(set(range(min(numbers[0], 1), numbers[-1])) - set(numbers)):
        return f"{len(gap)} images missing in {folder}, the first img_{gap[0]:05d}.jpg"
    return Source(str(folder), numbers[0], len(numbers))


def names_of(source: Source) -> tuple[str, ...]:
    """Names of a folder's images, in order; none for a file."""
    return tuple(f"img_{number:05d}.jpg" for number in range(source.first, source.first + source.count))


def _numbers(folder: Path) -> list[int] | None:
    if not folder.is_dir():
        return None
    with os.scandir(folder) as files:
        return sorted(int(match[1]) for file in files if (match := _IMAGE.fullmatch(file.name)))


def _refuse(lines: Sequence[str], total: int, what: str) -> None:
    if lines:
        head = f"PD4T: {len(lines)} of {total} {what} (complete them, or leave them out with the option exclude):"
        raise DataError("\n  ".join([head, *lines]))
