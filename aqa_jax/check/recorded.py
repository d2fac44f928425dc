"""Raw data beside their recorded checksums: every file that is another than its SHA256SUMS records, or gone."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from aqa_jax.check.findings import Finding, Video, error, warning
from aqa_jax.data import cores
from aqa_jax.data.checksums import NAME, Expected, compare, digest, is_image, missing, read
from aqa_jax.errors import DataError, printable
from aqa_jax.predict.inputs import VIDEO_SUFFIXES


def check_recorded(
    raw_dir: Path, videos: Sequence[Video] | None = None, *, threads: int | None = None
) -> list[Finding]:
    """A finding for each file that is not what the nearest SHA256SUMS records; prints how many are recorded.

    An error where a build would use the file: of these videos, or no video or image at all, as a table. Else a warning.

    Args:
      raw_dir: in and below which these files are looked for.
      videos: that a build would take; None: it cannot be told, and every file counts.
      threads: that read; by default one a core.
    """
    found: list[Finding] = []
    wanted: dict[Path, Expected] = {}
    for path in _files(raw_dir):
        try:
            recorded = read(path)
        except DataError as fault:
            found.append(error("checksum", printable(str(fault)), path))
            continue
        # From above to below: where several list a file the nearest counts, as it does in a build.
        wanted |= {path.parent / name: recorded.expected(name) for name in recorded.lines}
    with ThreadPoolExecutor(threads or cores()) as pool:
        looked = pool.map(_fault, wanted.items())
        faults = list(tqdm(looked, total=len(wanted), desc="comparing checksums", unit="file", disable=None))
    there = [video for video in videos or () if video.path]
    owners = {file: video for video in there for file in _files_of(video)}
    folders = {Path(video.path): video for video in there if video.names}
    for file, text in zip(wanted, faults, strict=True):
        if text:
            owner = owners.get(file) or (folders.get(file.parent) if is_image(file.name) else None)
            media = is_image(file.name) or file.suffix.lower() in VIDEO_SUFFIXES
            make = error if owner or videos is None or not media else warning
            at = (owner.file, owner.row, owner.id) if owner else (printable(str(file)), None, "")
            found.append(make("checksum", printable(text), *at))
    print(_words(raw_dir, wanted, owners if videos is not None else None), flush=True)
    return found


def _files(raw_dir: Path) -> Iterator[Path]:
    """Every SHA256SUMS, from above to below."""
    for folder, folders, names in os.walk(raw_dir, followlinks=True):
        folders.sort()
        if NAME in names:
            yield Path(folder, NAME)


def _fault(one: tuple[Path, Expected]) -> str:
    """What is wrong with a file; empty: nothing."""
    path, expected = one
    if not path.exists():
        return missing(path, expected)
    try:
        compare(path, digest(path), expected)
    except DataError as fault:
        return str(fault)
    return ""


def _files_of(video: Video) -> list[Path]:
    return [Path(video.path, name) for name in video.names] if video.names else [Path(video.path)]


def _words(raw_dir: Path, wanted: dict[Path, Expected], owners: dict[Path, Video] | None) -> str:
    """One line on how many files are recorded."""
    if not wanted:
        return f"Checksums: no {NAME} in {raw_dir} lists a file; a change that a format cannot show goes unnoticed."
    if owners is None:
        return f"Checksums: {len(wanted)} files in {raw_dir} are recorded, and were compared."
    of_videos = sum(file in wanted for file in owners)
    return (
        f"Checksums: {of_videos} of the {len(owners)} files of the videos in {raw_dir} are recorded, and "
        f"{len(wanted) - of_videos} others; all of these were compared."
    )
