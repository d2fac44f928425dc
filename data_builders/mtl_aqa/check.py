"""MTL-AQA's raw data for --mode check: every dive that can be read, and what cannot, with the entry's number."""

from pathlib import Path
from typing import Any

from aqa_jax.check.findings import Finding, Video, error, warning
from aqa_jax.errors import DataError

from . import annotations, frames
from .annotations import Key, dive_id


def raw_videos(
    raw_dir: Path,
    found: list[Finding],
    *,
    file: str,
    layout: str,
    frames_dir: str,
    window: int,
    margin: int,
    exclude: list[str],
    require_judges: bool,
) -> list[Video]:
    """The dives of both splits that have an annotation; the options are the builder's."""
    try:
        path = annotations.find_file(raw_dir, file)
    except DataError as fault:
        found.append(error("file", str(fault), raw_dir))
        return []
    try:
        dives, rows = _dives(path, found, exclude)
    except DataError as fault:
        found.append(error("file", str(fault), path))
        return []
    splits = _splits(path.parent, found)
    if splits:
        listed = {key for key, _, _ in splits}
        for key in sorted(set(dives) - listed):
            found.append(warning("split", "annotated, but in neither split", path, rows[key], dive_id(key)))
    folder, where = _frames(raw_dir, found, layout, frames_dir)
    videos = []
    listings: frames.Listings = {}
    for key, split, (split_file, number) in splits:
        id_ = dive_id(key)
        if id_ in exclude:
            continue
        if key not in rows:
            found.append(error("split", "listed, but not annotated", split_file, number, id_))
        dive = dives.get(key)
        if dive is None:
            continue
        images: frames.Window | str = ""
        if folder is not None:
            images = frames.window_of(
                folder, where, key, int(dive["end_frame"]), window=window, margin=margin, listings=listings
            )
            if isinstance(images, str):
                kind = "video" if images == "no folder" else "short"
                text = f"{images} in {folder} (a window has {window})"
                found.append(error(kind, text, split_file, number, id_))
        if require_judges and not dive["judge_scores"]:
            found.append(error("judges", "no marks, and the option require_judges is set", path, rows[key], id_))
        there = isinstance(images, frames.Window)
        videos.append(
            Video(
                id_, split, f"{key[0]:02d}", dive["final_score"], dive["difficulty"], tuple(dive["judge_scores"]),
                str(path), rows[key], path=images.folder if isinstance(images, frames.Window) else "",
                names=images.names if isinstance(images, frames.Window) else (), needed=window if there else 1,
            )
        )  # fmt: skip
    return videos


def _dives(path: Path, found: list[Finding], exclude: list[str]) -> tuple[dict[Key, dict[str, Any]], dict[Key, int]]:
    """The annotations that can be read, and the number of every entry with a key."""
    dives: dict[Key, dict[str, Any]] = {}
    rows: dict[Key, int] = {}
    for number, (raw_key, dive) in enumerate(annotations.read_raw(path).items(), start=1):
        try:
            key = annotations.parse_key(raw_key, path)
        except DataError as fault:
            found.append(error("line", str(fault).removeprefix(f"{path}: "), path, number))
            continue
        if key in rows:
            found.append(error("id", f"is there already (entry {rows[key]})", path, number, dive_id(key)))
            continue
        rows[key] = number
        if fault_text := annotations.fault_of(dive):
            if dive_id(key) not in exclude:
                found.append(error("line", fault_text, path, number, dive_id(key)))
            continue
        dives[key] = {**dive, "judge_scores": [float(mark) for mark in dive.get("judge_scores") or []]}
    for fix in annotations.correct_judges(dives):
        number = next(row for key, row in rows.items() if dive_id(key) == fix["id"])
        text = f"judge {fix['judge']} is {fix['from']:g}: known, and corrected to {fix['to']:g}"
        found.append(warning("judges", text, path, number, fix["id"]))
    return dives, rows


def _splits(folder: Path, found: list[Finding]) -> list[tuple[Key, str, tuple[Path, int]]]:
    """Every key that a split lists, once: with the split, the file and the entry's number."""
    listed: dict[Key, tuple[str, tuple[Path, int]]] = {}
    for split, name in annotations.SPLIT_FILES.items():
        path = folder / name
        try:
            raw_keys = annotations.read_split(path)
        except DataError as fault:
            found.append(error("file", str(fault), path))
            continue
        for number, raw_key in enumerate(raw_keys, start=1):
            try:
                key = annotations.parse_key(raw_key, path)
            except DataError as fault:
                found.append(error("line", str(fault).removeprefix(f"{path}: "), path, number))
                continue
            if key in listed:
                before, (file, row) = listed[key]
                text = f"listed already, in {before} ({file.name}, entry {row})"
                found.append(error("split", text, path, number, dive_id(key)))
            else:
                listed[key] = (split, (path, number))
    return [(key, split, where) for key, (split, where) in listed.items()]


def _frames(raw_dir: Path, found: list[Finding], layout: str, frames_dir: str) -> tuple[Path | None, str]:
    try:
        return frames.find(raw_dir, layout, frames_dir)
    except DataError as fault:
        found.append(error("file", str(fault), raw_dir))
        return None, ""
