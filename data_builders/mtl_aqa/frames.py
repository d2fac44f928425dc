"""Where MTL-AQA's frames lie: folders of dives, or of whole videos from which a dive's window is cut."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqa_jax.errors import DataError

from .annotations import Key, dive_id

# MUSDL's and DAE's frames/, TPT's and RICA2's frames_long/: one folder a dive, {video:02d}_{dive:02d}/*.jpg.
DIVE_FOLDERS = ("frames", "frames_long")
# CoRe's: one folder a whole video, {video:02d}/%08d.jpg.
VIDEO_FOLDERS = ("new_total_frames_256s", "new_total_frames")
PARENTS = ("", "data", "new", "MTL-AQA", "MTL-AQA/data", "MTL-AQA/new")
LAYOUTS = ("auto", "dives", "videos")
_IMAGE = (".jpg", ".jpeg", ".png")
Listings = dict[Path, dict[int, str] | None]  # folder of a whole video -> its images by number; None: no folder


@dataclass(frozen=True)
class Window:
    """The frames to store of one dive, in order, and where the published test window starts among them."""

    folder: str
    names: tuple[str, ...]
    eval_start: int


def find(raw_dir: Path, layout: str = "auto", folder: str = "") -> tuple[Path, str]:
    """The folder of frames below `raw_dir` and its layout, "dives" or "videos"; DataError if none."""
    if layout not in LAYOUTS:
        raise DataError(f"option layout: {layout!r} is not one of {', '.join(LAYOUTS)}")
    if folder:
        candidates = [raw_dir / folder]
    else:
        names = {"dives": DIVE_FOLDERS, "videos": VIDEO_FOLDERS, "auto": DIVE_FOLDERS + VIDEO_FOLDERS}[layout]
        candidates = [raw_dir / parent / name for name in names for parent in PARENTS]
    for candidate in candidates:
        if candidate.is_dir():
            found = layout if layout != "auto" else _guess(candidate)
            if found:
                return candidate, found
    raise DataError(
        f"no frames in {raw_dir}: looked for {'/, '.join(DIVE_FOLDERS + VIDEO_FOLDERS)}/ in it and in "
        f"{', '.join(PARENTS[1:])}; name the folder with the option frames_dir"
    )


def _guess(folder: Path) -> str:
    with os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(r"\d+_\d+", entry.name):
                return "dives"
            if re.fullmatch(r"\d+", entry.name):
                return "videos"
    return ""


def windows(
    folder: Path, layout: str, dives: dict[Key, dict[str, Any]], *, window: int, margin: int
) -> dict[Key, Window]:
    """The stored window of every dive: `window` frames, and up to `margin` more for the temporal shift.

    dives: the first window + margin images in name order; the test window is the first `window` of them,
      as the test code of MUSDL, DAE, TPT and RICA2 reads it.
    videos: frame k of a video is the image numbered k + 1 (ffmpeg counts from 1; from 0 if there is an
      image 0). The test window is the `window` frames before `end_frame`, as CoRe reads it, and half the
      margin is kept on either side where the video has it.

    Raises:
      DataError: folders are missing or hold too few frames; all such dives are named.
    """
    found: dict[Key, Window] = {}
    wrong: list[str] = []
    listings: Listings = {}
    for key, dive in sorted(dives.items()):
        cut = window_of(folder, layout, key, dive["end_frame"], window=window, margin=margin, listings=listings)
        if isinstance(cut, str):
            wrong.append(f"{dive_id(key)} ({cut})")
        else:
            found[key] = cut
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(dives)} dives lack frames in {folder} (a window has {window}): "
            f"{', '.join(wrong)}. Complete them, or leave them out with the option exclude"
        )
    return found


def window_of(
    folder: Path, layout: str, key: Key, end: int, *, window: int, margin: int, listings: Listings
) -> Window | str:
    """The stored window of one dive that ends before frame `end`, as `windows` says, or what it lacks.

    `listings` keeps the images of whole videos from one call to the next.
    """
    if layout == "dives":
        path = folder / dive_id(key)
        names = _images(path)
        if names is None or len(names) < window:
            return "no folder" if names is None else f"{len(names)} frames"
        return Window(str(path), tuple(names[: window + margin]), 0)
    path = folder / f"{key[0]:02d}"
    if path not in listings:
        listings[path] = _numbered(path)
    cut = _cut(listings[path], end, window, margin)
    return cut if isinstance(cut, str) else Window(str(path), *cut)


def _images(folder: Path) -> list[str] | None:
    if not folder.is_dir():
        return None
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.lower().endswith(_IMAGE))


def _numbered(folder: Path) -> dict[int, str] | None:
    names = _images(folder)
    if names is None:
        return None
    numbers = {int(digits.group(1)): name for name in names if (digits := re.search(r"(\d+)\.\w+$", name))}
    return numbers if 0 in numbers else {number - 1: name for number, name in numbers.items()}


def _cut(numbered: dict[int, str] | None, end: int, window: int, margin: int) -> tuple[tuple[str, ...], int] | str:
    """(names, eval_start), or what is missing."""
    if numbered is None:
        return "no folder"
    start = end - window
    there = sum(frame in numbered for frame in range(start, end))
    if there < window:
        return f"{there} frames"
    first, last = start, end
    while first > start - margin // 2 and first - 1 in numbered:
        first -= 1
    while last < end + margin - margin // 2 and last in numbered:
        last += 1
    return tuple(numbered[frame] for frame in range(first, last)), start - first
