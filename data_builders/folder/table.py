"""The csv of a folder of videos: read as people write it, checked, every problem named with its row."""

import csv
import difflib
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aqa_jax.errors import DataError

NAMES = ("labels.csv", "scores.csv", "annotations.csv")
# What a column may be called, in lower case, with _ for blanks and hyphens.
COLUMNS = {
    "id": ("id", "video_id"),
    "file": ("file", "filename", "file_name", "video", "path"),
    "score": ("score", "label", "rating"),
    "difficulty": ("difficulty",),
    "judges": ("judges", "marks"),
    "subject": ("subject", "patient", "athlete", "surgeon", "person", "group"),
    "split": ("split", "set"),
}
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_WORDS |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
SPLIT_WORDS |= dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled")
_JUDGE = re.compile(r"judge_?(\d+)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      number: as a spreadsheet counts, the header being row 1; 0 where there is no table.
      id: unique; by default the file's path without its suffix.
      file: path below the folder, or "" where the id says which file.
      score: None: unlabelled.
      difficulty: None: not given.
      judges: their marks; may be empty.
      subject: whose video it is; "" where nobody says.
      split: train, validation, test, unlabelled; "" where nobody says.
    """

    number: int
    id: str
    file: str
    score: float | None = None
    difficulty: float | None = None
    judges: tuple[float, ...] = ()
    subject: str = ""
    split: str = ""


@dataclass
class Table:
    """The rows, what is wrong with them, and what to know about them."""

    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(folder: Path, name: str) -> Path:
    """The csv file `name` in `folder`; with "", one of NAMES, or the only csv there.

    Raises:
      DataError: there is none, or several and none of them is named as expected.
    """
    if name:
        if not (folder / name).is_file():
            raise DataError(f"option table: there is no {folder / name}")
        return folder / name
    there = sorted(p for p in folder.glob("*") if p.suffix.lower() == ".csv" and not p.name.startswith("."))
    for wanted in NAMES:
        if (folder / wanted) in there:
            return folder / wanted
    if len(there) == 1:
        return there[0]
    found = f"several: {', '.join(path.name for path in there)}" if there else "none"
    raise DataError(
        f"{folder} should hold one csv file with the columns id (or file) and score, for instance {NAMES[0]}; there is "
        f"{found}. Name it with the option table, or set table=none: then all videos are unlabelled."
    )


def read(path: Path) -> Table:
    """Reads and checks the table. Its own faults are returned, all of them, as `problems`.

    UTF-8 (or UTF-16, as some spreadsheets save), with a byte order mark or without; commas, semicolons or tabs between
    the cells; a decimal comma where commas do not separate.

    Raises:
      DataError: not a table at all: not text, empty, or without the columns that say which videos.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 (byte {error.start}): save it as 'CSV UTF-8'") from error
    if "\0" in text or not text.strip():
        raise DataError(f"{path} is {'not a csv file' if text.strip() else 'empty'}: it should be a table of videos")
    # As a spreadsheet: splitlines() would cut cells at rarer signs too, as U+2028 or a form feed.
    lines = list(io.StringIO(text, newline=""))
    header = next(line for line in lines if line.strip())
    delimiter = max(",;\t", key=lambda sign: len(next(csv.reader([header], delimiter=sign))))
    try:
        cells = [[cell.strip() for cell in line] for line in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise DataError(f"{path} is not a csv file: {error}") from error
    numbered = [(number, line) for number, line in enumerate(cells, start=1) if any(line)]
    table = Table()
    columns = _columns(numbered[0][1], path, table)
    for number, line in numbered[1:]:
        if extra := [cell for cell in line[len(cells[numbered[0][0] - 1]) :] if cell]:
            table.problems.append(f"row {number}: more cells than the header has columns ({', '.join(extra)})")
            continue
        found = {name: line[at] if at < len(line) else "" for name, at in columns.items()}
        row, problems = _row(number, found, delimiter != ",")
        table.problems += [f"row {number}: {problem}" for problem in problems]
        if row.id:
            table.rows.append(row)
    if not table.rows and not table.problems:
        raise DataError(f"{path} has a header and no rows")
    _check_together(table)
    return table


def _columns(header: Sequence[str], path: Path, table: Table) -> dict[str, int]:
    """Column -> place; judges' columns as judge_1, judge_2, ..."""
    plain = [re.sub(r"[ -]+", "_", name.lower()) for name in header]
    meaning = {word: name for name, words in COLUMNS.items() for word in words}
    columns: dict[str, int] = {}
    unknown = []
    for at, name in enumerate(plain):
        judge = _JUDGE.fullmatch(name)
        key = f"judge_{int(judge[1])}" if judge else meaning.get(name)
        if key is None:
            unknown += [header[at]] if name else []
        elif key in columns:
            table.problems.append(f"row 1: {header[at]!r} and {header[columns[key]]!r} are both the {key}; keep one")
        else:
            columns[key] = at
    for name in unknown:
        near = difflib.get_close_matches(re.sub(r"[ -]+", "_", name.lower()), meaning, 1, 0.7)
        if near and meaning[near[0]] not in columns:
            table.problems.append(f"row 1: the column {name!r} is not known; is it {near[0]!r}?")
    if "id" not in columns and "file" not in columns:
        raise DataError(
            f"{path} has neither a column id nor file, only {', '.join(filter(None, header))}: the first row names the "
            "columns, and one of them says which video a row is about"
        )
    if "judges" in columns and any(name.startswith("judge_") for name in columns):
        table.problems.append("row 1: judges are given in one column and in several; keep one form")
    if unknown:
        table.notes.append(f"columns that are not read: {', '.join(unknown)}")
    return columns


def _row(number: int, cells: Mapping[str, str], decimal_comma: bool) -> tuple[Row, list[str]]:
    problems: list[str] = []

    def read_number(text: str, what: str) -> float | None:
        if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        if not text:
            return None
        if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
            return number
        empty = ", and empty for a video without a label" if what == "score" else ""
        problems.append(f"the {what} {text!r} is not a number (write 7.5{empty})")
        return None

    file = cells.get("file", "").replace("\\", "/")
    id_ = cells.get("id", "") or str(Path(file).with_suffix("").as_posix() if file else "")
    if not id_:
        problems.append("neither an id nor a file")
    marks = cells.get("judges", "").split("|") if cells.get("judges") else []
    marks += [cells[name] for name in sorted(cells, key=_judge_number) if name.startswith("judge_")]
    judges = [
        mark for text in marks if text.strip() and (mark := read_number(text.strip(), "judge's mark")) is not None
    ]
    split = cells.get("split", "").lower()
    if split and split not in SPLIT_WORDS:
        problems.append(f"the split {split!r} is not one of train, test, unlabelled (or empty for the whole column)")
    score, difficulty = (read_number(cells.get(name, ""), name) for name in ("score", "difficulty"))
    subject = cells.get("subject", "")
    return Row(number, id_, file, score, difficulty, tuple(judges), subject, SPLIT_WORDS.get(split, "")), problems


def _judge_number(name: str) -> int:
    judge = _JUDGE.fullmatch(name)
    return int(judge[1]) if judge else 0


def _check_together(table: Table) -> None:
    """What no row alone can tell: ids listed twice; what some rows have and others lack."""
    places: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        places[row.id].append(str(row.number))
    table.problems += [
        f"rows {' and '.join(rows)}: the id {id_!r} is listed more than once"
        for id_, rows in places.items()
        if len(rows) > 1
    ]
    for name in ("subject", "split"):
        lacking = [row.number for row in table.rows if not getattr(row, name)]
        if lacking and len(lacking) < len(table.rows):
            table.problems.append(f"{listed(lacking)}: no {name}, while other rows have one; give all of them, or none")
    labelled = [row for row in table.rows if row.score is not None]
    without = [row.number for row in labelled if row.difficulty is None]
    if without and len(without) < len(labelled):
        table.problems.append(f"{listed(without)}: no difficulty, while other rows have one; give all of them, or none")
    counts = Counter(len(row.judges) for row in labelled)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        other = [row.number for row in labelled if len(row.judges) != usual]
        table.problems.append(f"{listed(other)}: another number of judges than the {usual} of most rows")


def listed(numbers: Sequence[int], limit: int = 12) -> str:
    """ "row 3" or "rows 3, 5 and 8", the first few of them."""
    words = [str(number) for number in numbers[:limit]]
    more = f" and {len(numbers) - limit} more" if len(numbers) > limit else ""
    return ("row " if len(numbers) == 1 else "rows ") + ", ".join(words) + more
