"""PD4T's annotations: read the csv or list files, check them, keep patients apart."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aqa_jax.check.findings import Finding, error
from aqa_jax.errors import ConfigError, DataError

from . import severity
from .severity import TASKS

SPLITS = ("train", "test")
# What the release calls the tasks; read without regard to case, blanks, hyphens and underscores.
TASK_FOLDERS = {"gait": "Gait", "finger": "Finger tapping", "hand": "Hand movement", "leg": "Leg agility"}
PARENTS = ("", "PD4T", "PD4T/PD4T")
LEAK_RULES = ("refuse", "exclude")
_ID = re.compile(r"(?P<visit>[^\s_/\\]+)(?:_(?P<side>[lr]))?_(?P<patient>[0-9]{3})")
_SAMPLE = re.compile(r"(?P<visit>[^\s_/\\]+)(?:_(?P<side>[lr]))?(?:_(?P<patient>[0-9]{3}))?")


@dataclass(frozen=True)
class Entry:
    """One annotated video.

    Attributes:
      task: gait, finger, hand or leg.
      split: train or test, as published.
      visit: the recording, YY-NNNNNN.
      side: l, r, or "" (gait).
      patient: three digits.
      frames: the number of frames that the annotation claims.
      score: 0..4.
      name: as the annotation has it: the id, or patient/sample, the folder of extracted frames.
      where: file and line, in words.
      file: the annotation file.
      row: line of `file`, from 1.
    """

    task: str
    split: str
    visit: str
    side: str
    patient: str
    frames: int
    score: int
    name: str
    where: str
    file: str = ""
    row: int = 0

    @property
    def id(self) -> str:
        """Unique over the tasks, and the same in every layout: the published id behind the task's name."""
        return "_".join(part for part in (self.task, self.visit, self.side, self.patient) if part)


@dataclass
class Annotations:
    """Checked annotations: the videos of either split in the files' order, and what was found on the way."""

    splits: dict[str, list[Entry]]
    observed: dict[str, severity.Table]  # before anything was left out, frames as annotated
    excluded: list[Entry] = field(default_factory=list)
    leak: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # patient -> {"train": tasks, "test": tasks}
    dropped: list[Entry] = field(default_factory=list)  # training videos of those patients

    @property
    def entries(self) -> list[Entry]:
        """All videos, training first."""
        return [entry for split in SPLITS for entry in self.splits[split]]


def tasks_of(option: str) -> tuple[str, ...]:
    """The tasks that the option `task` stands for; ConfigError for anything else."""
    if option not in (*TASKS, "all"):
        raise ConfigError(f"option task: {option!r} is not one of {', '.join(TASKS)}, all")
    return TASKS if option == "all" else (option,)


def same_name(folder: Path, name: str) -> Path | None:
    """The folder below `folder` called `name`, without regard to case, blanks, hyphens and underscores."""

    def plain(text: str) -> str:
        return re.sub(r"[ _-]", "", text).lower()

    if not folder.is_dir():
        return None
    return next((path for path in sorted(folder.iterdir()) if path.is_dir() and plain(path.name) == plain(name)), None)


def find_folder(raw_dir: Path, name: str, given: str, option: str) -> Path:
    """The folder `given` below `raw_dir`, or the one called `name` in the usual places."""
    if given:
        if not (raw_dir / given).is_dir():
            raise DataError(f"option {option}: no folder {raw_dir / given}")
        return raw_dir / given
    for parent in PARENTS:
        if found := same_name(raw_dir / parent, name):
            return found
    raise DataError(
        f"no folder {name} in {raw_dir}, nor in {' or '.join(PARENTS[1:])} below it; name it with the option {option}"
    )


def csv_files(folder: Path, tasks: Sequence[str]) -> dict[tuple[str, str], Path]:
    """(task, split) -> `<folder>/<task>/<split>.csv`; DataError names all that are missing."""
    found, missing = {}, []
    for task in tasks:
        parent = same_name(folder, TASK_FOLDERS[task]) or folder / TASK_FOLDERS[task]
        for split in SPLITS:
            found[task, split] = parent / f"{split}.csv"
            if not found[task, split].is_file():
                missing.append(str(found[task, split]))
    if missing:
        raise DataError(f"annotation files are missing: {', '.join(missing)}")
    return found


def list_files(raw_dir: Path, tasks: Sequence[str], names: dict[str, str]) -> dict[tuple[str, str], Path]:
    """(task, split) -> list file below `raw_dir`, `{task}` in its name filled in; DataError names all missing."""
    found = {(task, split): raw_dir / names[split].replace("{task}", task) for task in tasks for split in SPLITS}
    if missing := [str(path) for path in found.values() if not path.is_file()]:
        raise DataError(f"list files are missing: {', '.join(missing)}; name them with train_list and test_list")
    if repeated := {str(path) for path in found.values() if list(found.values()).count(path) > 1}:
        raise DataError(
            f"one list file for several tasks or splits: {', '.join(sorted(repeated))}; every task and split has "
            "its own: put {task} into train_list and test_list where there are several tasks"
        )
    return found


def _csv_cells(line: str, task: str) -> tuple[str, str, str, str, str, str]:
    """`id,frames,score` as (name, visit, side, patient, frames, score); ValueError says what is wrong."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 3:
        raise ValueError(f"{len(cells)} cells, where there are three: id,frames,score")
    match = _ID.fullmatch(cells[0])
    form = "YY-NNNNNN_PPP" if task == "gait" else "YY-NNNNNN_l_PPP or YY-NNNNNN_r_PPP"
    if not match or (match["side"] is None) != (task == "gait"):
        raise ValueError(f"the id {cells[0]!r} is not of the form {form} (PPP: the patient)")
    return cells[0], match["visit"], match["side"] or "", match["patient"], cells[1], cells[2]


def _list_cells(line: str, task: str) -> tuple[str, str, str, str, str, str]:
    """`<sample> <label> <num_frames> <patient>`, to the same as `_csv_cells`."""
    cells = line.split()
    if len(cells) != 4:
        raise ValueError(f"{len(cells)} words, where there are four: sample label num_frames patient")
    sample, label, frames, patient = cells
    match = _SAMPLE.fullmatch(sample)
    if not match or (match["side"] is None) != (task == "gait"):
        form = "YY-NNNNNN" if task == "gait" else "YY-NNNNNN_l or YY-NNNNNN_r"
        raise ValueError(f"the sample {sample!r} is not of the form {form}, with or without _PPP")
    if not re.fullmatch(r"[0-9]{1,3}", patient):
        raise ValueError(f"the patient {patient!r} is not a number of up to three digits")
    if match["patient"] and int(match["patient"]) != int(patient):
        raise ValueError(f"the sample {sample!r} names another patient than {patient!r}")
    return f"{patient}/{sample}", match["visit"], match["side"] or "", f"{int(patient):03d}", frames, label


def read(path: Path, task: str, split: str, is_csv: bool, bad: list[Finding]) -> Iterable[Entry]:
    """The entries of one file; lines that cannot be read go into `bad`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        bad.append(error("file", "not text in UTF-8", path))
        return
    except OSError as fault:
        bad.append(error("file", f"cannot be read ({fault.strerror})", path))
        return
    if not any(line.strip() for line in lines):
        bad.append(error("file", "the file is empty", path))
    cells: Callable[[str, str], tuple[str, str, str, str, str, str]] = _csv_cells if is_csv else _list_cells
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name, visit, side, patient, frames, score = cells(line, task)
            if not re.fullmatch(r"[0-9]+", frames) or not int(frames):
                raise ValueError(f"{name}: the number of frames is {frames!r}, not a whole number above 0")
            # "2.0" is what a table program makes of 2.
            if not re.fullmatch(r"[0-4](\.0+)?", score):
                raise ValueError(f"{name}: the score is {score!r}, not one of 0, 1, 2, 3, 4")
        except ValueError as fault:
            bad.append(error("line", str(fault), path, number))
            continue
        where = f"{path}, line {number}"
        yield Entry(task, split, visit, side, patient, int(frames), int(score[0]), name, where, str(path), number)


def load(
    files: dict[tuple[str, str], Path],
    *,
    is_csv: bool = True,
    leak: str = "refuse",
    check_counts: bool = True,
    exclude: Sequence[str] = (),
) -> Annotations:
    """Read and check the annotations of one or several tasks.

    Args:
      files: (task, split) -> file.
      is_csv: the release's csv files; else PECoP's list files, whose frame counts are not compared with the
        published ranges, since they are of somebody's extraction.
      leak: "refuse" patients who are in the test split of one task and the training split of another, or
        "exclude" the training videos of these patients.
      check_counts: compare with the published severity table.
      exclude: ids ("finger_15-001760_l_009") to leave out.

    Raises:
      ConfigError: `leak` is neither.
      DataError: a line cannot be read; an id is repeated; a patient is on both sides; the counts are not those
        that are published. All faults of a kind are named together.
    """
    if leak not in LEAK_RULES:
        raise ConfigError(f"option leak: {leak!r} is not one of {', '.join(LEAK_RULES)}")
    bad: list[Finding] = []
    entries = [e for (task, split), path in files.items() for e in read(path, task, split, is_csv, bad)]
    _refuse(
        [str(fault) for fault in bad],
        "faults in the annotation files",
        "correct them; the release's files have no header line",
    )
    if unknown := sorted(set(exclude) - {entry.id for entry in entries}):
        raise DataError(f"option exclude: no videos {', '.join(unknown)} (ids look like {entries[0].id})")
    _check_repeated(entries)
    _check_patients(entries)
    observed = severity.observe((e.task, e.split, e.score, e.frames) for e in entries)
    if check_counts and (wrong := severity.differences(observed, frames=is_csv)):
        _refuse(
            wrong, "of the dataset's figures are not those that are published",
            "get the missing files, or set check_counts=false if this is meant to be a part or a variant",
        )  # fmt: skip
    excluded = [entry for entry in entries if entry.id in exclude]
    kept = [entry for entry in entries if entry.id not in exclude]
    clash = cross_task(kept)
    if clash and leak == "refuse":
        _refuse_leak(clash, kept)
    dropped = [entry for entry in kept if entry.split == "train" and entry.patient in clash]
    splits = {
        "train": [entry for entry in kept if entry.split == "train" and entry.patient not in clash],
        "test": [entry for entry in kept if entry.split == "test"],
    }
    if dropped and not splits["train"]:
        raise DataError(
            "leak=exclude leaves no training video: every patient is in the test split of some task; "
            "train on fewer tasks"
        )
    return Annotations(splits, observed, excluded, clash, dropped)


def _refuse(lines: Sequence[str], what: str, advice: str) -> None:
    if lines:
        raise DataError("\n  ".join([f"PD4T: {len(lines)} {what} ({advice}):", *lines]))


def _check_repeated(entries: Sequence[Entry]) -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        where[entry.id].append(entry.where)
    lines = [f"{id_}: {' and '.join(places)}" for id_, places in where.items() if len(places) > 1]
    _refuse(lines, "ids are listed more than once", "every video has one line")


def tasks_by_patient(entries: Iterable[Entry]) -> dict[str, dict[str, set[str]]]:
    """Patient -> split -> the tasks that they have videos of."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: {split: set() for split in SPLITS})
    for entry in entries:
        found[entry.patient][entry.split].add(entry.task)
    return found


def _check_patients(entries: Sequence[Entry]) -> None:
    lines = []
    for patient, tasks in sorted(tasks_by_patient(entries).items()):
        for task in sorted(tasks["train"] & tasks["test"]):
            own = [entry for entry in entries if (entry.patient, entry.task) == (patient, task)]
            first = {entry.split: entry for entry in reversed(own)}
            places = " and ".join(f"{first[split].name} in {split} ({first[split].where})" for split in SPLITS)
            lines.append(f"{task}, patient {patient}: {places}")
    _refuse(lines, "patients are in train and test of one task", "the split is by patient; correct the files")


def cross_task(entries: Iterable[Entry]) -> dict[str, dict[str, list[str]]]:
    """Patients in the test split of one task and the training split of another, and their tasks."""
    return {
        patient: {split: [task for task in TASKS if task in tasks[split]] for split in SPLITS}
        for patient, tasks in sorted(tasks_by_patient(entries).items())
        if tasks["train"] and tasks["test"]
    }


def leak_lines(clash: dict[str, dict[str, list[str]]]) -> list[str]:
    """A line a patient: the tasks in which they are tested, and those in which they are trained on."""
    return [
        f"patient {patient}: test in {', '.join(tasks['test'])}; train in {', '.join(tasks['train'])}"
        for patient, tasks in clash.items()
    ]


def _refuse_leak(clash: dict[str, Any], entries: Sequence[Entry]) -> None:
    train = [entry for entry in entries if entry.split == "train"]
    lost = sum(entry.patient in clash for entry in train)
    _refuse(
        leak_lines(clash), "patients are in the test split of one task and the training split of another",
        "a model would be tested on people it was trained on. Build one task at a time, or set leak=exclude, which "
        f"leaves out these patients' {lost} of {len(train)} training videos",
    )  # fmt: skip
