"""PD4T's raw data for --mode check: every line of the annotations and every video, with what is wrong."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from aqa_jax.check.findings import Finding, Video, error

from . import severity, videos
from .annotations import Entry, cross_task, read, tasks_by_patient


def read_entries(
    files: Mapping[tuple[str, str], Path],
    found: list[Finding],
    *,
    is_csv: bool,
    leak: str,
    check_counts: bool,
    exclude: Sequence[str],
) -> list[Entry]:
    """The entries that a build would take, and those that it would refuse; what cannot be read goes into `found`.

    Args:
      files: (task, split) -> file.
      found: gets the faults.
      is_csv: the release's csv files; else PECoP's list files.
      leak: with "exclude", training videos of patients who are tested in another task are left out.
      check_counts: compare with the published severity table.
      exclude: ids to leave out.
    """
    entries: list[Entry] = []
    for (task, split), path in files.items():
        entries += read(path, task, split, is_csv, found)
    if check_counts and entries:
        observed = severity.observe((e.task, e.split, e.score, e.frames) for e in entries)
        differs = severity.differences(observed, frames=is_csv)
        found += [error("count", f"{line} (or set check_counts=false)", next(iter(files.values()))) for line in differs]
    kept = [entry for entry in entries if entry.id not in exclude]
    if leak != "exclude":
        return kept
    tasks = tasks_by_patient(kept)
    # Who is on both sides of one task is a fault of the files, which no option excuses.
    clash = {patient for patient in cross_task(kept) if not tasks[patient]["train"] & tasks[patient]["test"]}
    return [entry for entry in kept if entry.split != "train" or entry.patient not in clash]


def in_files(folder: Path, entries: Sequence[Entry], found: list[Finding]) -> list[Video]:
    """The entries with their mp4 files below `folder`."""
    paths = videos.files_of(folder, entries)
    users: dict[Path, list[Entry]] = defaultdict(list)
    for entry in entries:
        path = paths[entry.id]
        if isinstance(path, str):
            found.append(error("video", path, entry.file, entry.row, entry.id))
        elif entry.id not in {other.id for other in users[path]}:
            users[path].append(entry)
    for path, some in users.items():
        for entry in some[1:]:
            text = f"the same file as {some[0].id} (row {some[0].row}): {path}"
            found.append(error("video", text, entry.file, entry.row, entry.id))
    return [_video(entry, path if isinstance(path := paths[entry.id], Path) else None) for entry in entries]


def in_folders(folders: Mapping[str, Path], entries: Sequence[Entry], found: list[Finding]) -> list[Video]:
    """The entries with their folders of images, below the folder of each task."""
    made = []
    for entry in entries:
        source = videos.images_of(folders[entry.task] / entry.name)
        if isinstance(source, str):
            found.append(error("video", source, entry.file, entry.row, entry.id))
            made.append(_video(entry, None))
        else:
            made.append(_video(entry, Path(source.path), videos.names_of(source)))
    return made


def _video(entry: Entry, path: Path | None, names: tuple[str, ...] = ()) -> Video:
    return Video(
        entry.id, entry.split, entry.patient, float(entry.score), file=entry.file, row=entry.row,
        path="" if path is None else str(path), names=names, claimed=entry.frames,
    )  # fmt: skip
