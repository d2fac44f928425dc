"""JIGSAWS's scores and folds: MUSDL's pickles, or the meta files of the original release."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aqa_jax import safe_pickle
from aqa_jax.check.findings import Finding, error
from aqa_jax.errors import ConfigError, DataError

from . import folds

TASKS = ("Suturing", "Needle_Passing", "Knot_Tying")
PARENTS = ("", "JIGSAWS")
INFO_FOLDERS = ("", "info", "data/info", "JIGSAWS/data/info")
# The six items of the global rating score, 1..5 each, in the order of every file.
ITEMS = (
    "respect for tissue",
    "suture/needle handling",
    "time and motion",
    "flow of operation",
    "overall performance",
    "quality of final product",
)
LEVELS = ("N", "I", "E")  # self-proclaimed: novice, intermediate, expert
_TRIAL = re.compile(r"(?P<task>Suturing|Needle_Passing|Knot_Tying)_(?P<surgeon>[A-Z])(?P<number>[0-9]{3})")


@dataclass(frozen=True)
class Trial:
    """One labelled trial.

    Attributes:
      id: "Suturing_B001".
      items: the six items, 1..5.
      total: the global rating score, 6..30.
      level: N, I, E, or "" (MUSDL's pickle has none).
      fold: MUSDL's, 0..3; -1 in none.
    """

    id: str
    items: tuple[int, ...]
    total: int
    level: str
    fold: int

    @property
    def task(self) -> str:
        """Suturing, Needle_Passing or Knot_Tying."""
        return split_id(self.id)[0]

    @property
    def surgeon(self) -> str:
        """A letter."""
        return split_id(self.id)[1]

    @property
    def number(self) -> int:
        """Which of a surgeon's trials of the task, from 1: JIGSAWS's super-trial."""
        return split_id(self.id)[2]


@dataclass
class Annotations:
    """Checked annotations in the order of their ids, and what was found on the way."""

    trials: list[Trial]
    source: str
    folds_from: str
    traps: dict[str, Any] = field(default_factory=dict)


def split_id(text: str) -> tuple[str, str, int]:
    """ "Suturing_B001" -> ("Suturing", "B", 1); ValueError for anything else."""
    match = _TRIAL.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a trial like Suturing_B001")
    return match["task"], match["surgeon"], int(match["number"])


def tasks_of(option: str) -> tuple[str, ...]:
    """The tasks that the option `task` stands for; ConfigError for anything else."""
    if option not in (*TASKS, "all"):
        raise ConfigError(f"option task: {option!r} is not one of {', '.join(TASKS)}, all")
    return TASKS if option == "all" else (option,)


def load(raw_dir: Path, tasks: Sequence[str], *, info_dir: str = "", exclude: Sequence[str] = ()) -> Annotations:
    """Read and check the labels below `raw_dir`.

    Where both MUSDL's label.pkl and the release's meta files are there, they must agree on the items; the meta files
    give the total and the level. Without a splits.pkl the folds are those that MUSDL published.

    Args:
      raw_dir: folder of the raw data.
      tasks: which of `TASKS`.
      info_dir: folder of label.pkl and splits.pkl below `raw_dir`; empty: looked for.
      exclude: ids ("Suturing_B001") to leave out.

    Raises:
      DataError: no labels; a line or entry that cannot be read; labels that differ between files; folds that overlap.
        All faults of a kind are named together.
    """
    pickles, metas = find_files(raw_dir, tasks, info_dir)
    bad: list[Finding] = []
    from_pickle = read_pickle(pickles["label.pkl"], tasks, bad) if pickles["label.pkl"] else {}
    _refuse([one.text for one in bad], f"faults in {pickles['label.pkl']}")
    from_meta = read_metas(metas, bad)
    _refuse([str(one) for one in bad], "faults in the meta files")
    if pickles["label.pkl"]:
        other = [one.text for one in differing(from_pickle, from_meta)]
        _refuse(other, f"trials have other items in {pickles['label.pkl']} than in the meta file")
    labels = joined(from_pickle, from_meta)
    _refuse_unknown(exclude, labels)
    fold_of = folds.published()
    if pickles["splits.pkl"]:
        fold_of = read_folds(pickles["splits.pkl"], tasks, labels, bad)
        _refuse([one.text for one in bad], f"faults in {pickles['splits.pkl']}")
    trials = [
        Trial(id_, labels[id_].items, labels[id_].total, labels[id_].level, fold_of.get(id_, -1))
        for id_ in sorted(labels, key=lambda id_: (TASKS.index(split_id(id_)[0]), id_))
        if id_ not in exclude
    ]
    sources = [str(path.relative_to(raw_dir)) for path in (pickles["label.pkl"], *metas.values()) if path]
    traps = {
        "total_is_not_the_sum": [
            {"id": trial.id, "total": trial.total, "sum": sum(trial.items)}
            for trial in trials
            if trial.total != sum(trial.items)
        ],
        "in_no_fold": [trial.id for trial in trials if trial.fold < 0],
        "excluded": sorted(exclude),
    }
    folds_from = str(pickles["splits.pkl"].relative_to(raw_dir)) if pickles["splits.pkl"] else "MUSDL, as published"
    return Annotations(trials, ", ".join(sources), folds_from, traps)


def find_files(raw_dir: Path, tasks: Sequence[str], info_dir: str) -> tuple[dict[str, Path | None], dict[str, Path]]:
    """label.pkl and splits.pkl, None where there is none, and the meta file of each task that has one.

    Raises:
      DataError: there are no labels for one of the tasks.
    """
    pickles = {name: _find_pickle(raw_dir, name, info_dir) for name in ("label.pkl", "splits.pkl")}
    metas = {task: path for task in tasks if (path := _find_meta(raw_dir, task))}
    missing = [f"{task}/meta_file_{task}.txt" for task in tasks if task not in metas]
    if missing and not pickles["label.pkl"]:
        raise DataError(
            f"no labels in {raw_dir}: neither label.pkl (in it, {', '.join(INFO_FOLDERS[1:])}) nor "
            f"{', '.join(missing)}; name the folder of label.pkl with the option info_dir, or build one task"
        )
    return pickles, metas


def _find_pickle(raw_dir: Path, name: str, info_dir: str) -> Path | None:
    if info_dir and not (raw_dir / info_dir / "label.pkl").is_file():
        raise DataError(f"option info_dir: no label.pkl in {raw_dir / info_dir}")
    candidates = [raw_dir / folder / name for folder in ([info_dir] if info_dir else INFO_FOLDERS)]
    return next((path for path in candidates if path.is_file()), None)


def _find_meta(raw_dir: Path, task: str) -> Path | None:
    candidates = [raw_dir / parent / task / f"meta_file_{task}.txt" for parent in PARENTS]
    return next((path for path in candidates if path.is_file()), None)


@dataclass(frozen=True)
class Label:
    """The rating of one trial, and the line or entry (from 1) that it is from."""

    items: tuple[int, ...]
    total: int
    level: str
    file: str
    row: int


def read_pickle(path: Path, tasks: Sequence[str], bad: list[Finding]) -> dict[str, Label]:
    """MUSDL's labels by trial; entries that cannot be read go into `bad`; DataError where all of it cannot."""
    raw = safe_pickle.load(path)
    if not isinstance(raw, dict) or not raw:
        raise DataError(f"{path}: not MUSDL's labels (a dict of trial -> six items)")
    labels = {}
    for number, (id_, items) in enumerate(raw.items(), start=1):
        try:
            task = split_id(str(id_))[0]
            values = _items(items.tolist() if hasattr(items, "tolist") else items)
        except (TypeError, ValueError) as fault:
            bad.append(error("line", f"{id_}: {fault}", path, number))
            continue
        if task in tasks:
            labels[str(id_)] = Label(values, sum(values), "", str(path), number)
    return labels


def read_metas(metas: Mapping[str, Path], bad: list[Finding]) -> dict[str, Label]:
    """The release's labels by trial; lines that cannot be read go into `bad`."""
    labels: dict[str, Label] = {}
    for task, path in metas.items():
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as fault:
            bad.append(error("file", f"cannot be read ({fault.strerror})", path))
            continue
        if not text.strip():
            bad.append(error("file", "the file is empty", path))
        for number, line in enumerate(text.splitlines(), start=1):
            cells = line.split()
            if not cells:
                continue
            try:
                id_, label = _meta_label(cells, task, path, number)
                if id_ in labels:
                    raise ValueError(f"{id_} is listed twice (line {labels[id_].row})")
                labels[id_] = label
            except ValueError as fault:
                bad.append(error("line", str(fault), path, number))
    return labels


def _meta_label(cells: Sequence[str], task: str, path: Path, number: int) -> tuple[str, Label]:
    if len(cells) != 9:
        raise ValueError(f"{len(cells)} words, where there are nine: trial, level, total, six items")
    id_, level, total, *items = cells
    if split_id(id_)[0] != task:
        raise ValueError(f"{id_} is no trial of {task}")
    if level not in LEVELS:
        raise ValueError(f"{id_}: the level is {level!r}, not one of {', '.join(LEVELS)}")
    if not re.fullmatch(r"[0-9]+", total) or not 6 <= int(total) <= 30:
        raise ValueError(f"{id_}: the total is {total!r}, not a whole number from 6 to 30")
    values = _items([int(item) if item.isascii() and item.isdigit() else item for item in items])
    return id_, Label(values, int(total), level, str(path), number)


def differing(from_pickle: Mapping[str, Label], from_meta: Mapping[str, Label]) -> list[Finding]:
    """Trials whose items are others in label.pkl than in a meta file."""
    return [
        error("judges", f"{id_}: {list(from_pickle[id_].items)} and {list(label.items)}", label.file, label.row, id_)
        for id_, label in from_meta.items()
        if id_ in from_pickle and from_pickle[id_].items != label.items
    ]


def joined(from_pickle: Mapping[str, Label], from_meta: Mapping[str, Label]) -> dict[str, Label]:
    """The labels of both; a meta file's have total and level."""
    return dict(from_pickle) | dict(from_meta)


def _items(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple):
        raise ValueError(f"{values!r}, where there are six items")
    if len(values) != len(ITEMS):
        raise ValueError(f"{len(values)} items, where there are six")
    for name, value in zip(ITEMS, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
            raise ValueError(f"{name} is {value!r}, not one of 1, 2, 3, 4, 5")
    return tuple(values)


def _refuse_unknown(exclude: Sequence[str], labels: Mapping[str, Any]) -> None:
    if unknown := sorted(set(exclude) - set(labels)):
        raise DataError(f"option exclude: no trials {', '.join(unknown)} (ids look like Suturing_B001)")


def read_folds(path: Path, tasks: Sequence[str], labels: Mapping[str, Any], bad: list[Finding]) -> dict[str, int]:
    """The fold of each trial; trials that are in two, or have no label, go into `bad`; row is the fold's number.

    Raises:
      DataError: it is no file of folds, or lacks a task.
    """
    raw = safe_pickle.load(path)
    if not isinstance(raw, dict) or not all(
        isinstance(lists, list) and all(isinstance(fold, list | tuple) for fold in lists) for lists in raw.values()
    ):
        raise DataError(f"{path}: not MUSDL's folds (a dict of task -> lists of trials)")
    if missing := [task for task in tasks if task not in raw]:
        raise DataError(f"{path}: no folds of {', '.join(missing)}")
    fold_of: dict[str, int] = {}
    for task in tasks:
        for number, trials in enumerate(raw[task]):
            for id_ in map(str, trials):
                if id_ not in labels:
                    bad.append(error("split", f"{id_} (fold {number}) has no label", path, number, id_))
                elif id_ in fold_of:
                    text = f"{id_} is in fold {fold_of[id_]} and in fold {number}"
                    bad.append(error("split", text, path, number, id_))
                fold_of[id_] = number
    return fold_of


def _refuse(lines: Sequence[str], what: str) -> None:
    if lines:
        raise DataError("\n  ".join([f"JIGSAWS: {len(lines)} {what}:", *lines]))
