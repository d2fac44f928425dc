"""What a check has found, and what a builder tells it of its raw data."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqa_jax.files import write_csv, write_json

SCHEMA = "aqa_jax.check/1"
KINDS = {
    "file": "a file or folder that is missing, empty, damaged or of another form",
    "line": "a line or an entry that cannot be read",
    "id": "an id that comes twice",
    "split": "a video listed twice, in two splits, or without an annotation",
    "label": "a score that is no number or out of range",
    "difficulty": "a degree of difficulty that is no positive number",
    "judges": "marks out of range, or that do not give the score",
    "group": "a patient, surgeon or athlete on both sides of the test",
    "video": "a video that is missing, cannot be decoded, or is damaged",
    "short": "fewer frames than are needed",
    "count": "another number of frames than annotated or stored",
    "checksum": "a file that is not what its SHA256SUMS records, or is gone",
    "pixels": "the same pixels in two videos",
    "built": "a dataset that is not what was built, or not what its raw data or the config say now",
}
_SHOWN = 30  # findings of one kind on the terminal; the files have all


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
      level: error, or warning: worth knowing, and no reason to stop.
      kind: one of `KINDS`.
      text: in words.
      file: the file that it is in, or the dataset's directory.
      row: number of the line of a text file, of the entry of a list or dict in a pickle (both from 1), of the row of
        the table of a dataset (from 0, as its readers count); None: it concerns the file.
      id: of the video, if it is known.
    """

    level: str
    kind: str
    text: str
    file: str = ""
    row: int | None = None
    id: str = ""

    def __post_init__(self) -> None:
        assert self.level in ("error", "warning") and self.kind in KINDS, self

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}, line {self.row}"
        return f"{place}: {self.text}"


def error(kind: str, text: str, file: Any = "", row: int | None = None, id_: str = "") -> Finding:
    """A `Finding` that should stop whoever would use the data."""
    return Finding("error", kind, text, str(file), row, id_)


def warning(kind: str, text: str, file: Any = "", row: int | None = None, id_: str = "") -> Finding:
    """A `Finding` worth knowing."""
    return Finding("warning", kind, text, str(file), row, id_)


def from_refusal(fault: Exception, file: Any) -> list[Finding]:
    """An error for each line of what a builder refused its raw data with; rows are told by their words."""
    head, *lines = str(fault).split("\n  ")
    found = []
    for line in lines or [head]:
        # "rows 2 and 9": the last is the one that should not be there.
        rows = re.search(r"\brows? (?:\d+(?:, | and ))*(\d+)\b", line)
        found.append(error("line" if lines else "file", line, file, int(rows[1]) if rows else None))
    return found


@dataclass(frozen=True)
class Video:
    """One video and its labels, as an annotation file or a dataset's table has them.

    Attributes:
      id: as the dataset has it.
      split: train, test, ...
      group: patient, surgeon, athlete: who must not be on both sides of the test.
      score: None where there is none.
      difficulty: None where there is none.
      judges: marks, perhaps none.
      file: where the annotation is.
      row: of `file`, as for a `Finding`.
      path: a video file or a folder of images; "" where it is missing, which is a finding of its own.
      names: images of the folder, in order; none for a video file.
      claimed: frames that the annotation claims; 0: it does not.
      needed: frames that there must be.
    """

    id: str
    split: str
    group: str
    score: float | None
    difficulty: float | None = None
    judges: tuple[float, ...] = ()
    file: str = ""
    row: int | None = None
    path: str = ""
    names: tuple[str, ...] = ()
    claimed: int = 0
    needed: int = 1


def errors(found: Sequence[Finding]) -> int:
    """How many are errors."""
    return sum(one.level == "error" for one in found)


def show(found: Sequence[Finding]) -> None:
    """Prints the table, errors first."""
    rows: list[tuple[str, ...]] = [("", "what", "where", "row", "video", "")]
    shown: Counter[tuple[str, str]] = Counter()
    for one in sorted(found, key=lambda one: one.level):
        shown[one.level, one.kind] += 1
        if shown[one.level, one.kind] <= _SHOWN:
            number = "" if one.row is None else str(one.row)
            cells = (one.level, one.kind, _short(one.file), number, one.id, one.text)
            rows.append(tuple(map(_printable, cells)))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    if len(rows) > 1:
        for row in rows:
            print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip())
    for (level, kind), count in shown.items():
        if count > _SHOWN:
            print(f"... and {count - _SHOWN} more: {level}, {kind} (--output DIR writes all)")
    sys.stdout.flush()


def write(found: Sequence[Finding], output: Path, looked_at: Sequence[str]) -> None:
    """Writes check.csv and check.json into `output`."""
    columns = ("level", "kind", "file", "row", "id", "text")
    write_csv(output / "check.csv", {name: [getattr(one, name) for one in found] for name in columns})
    write_json(
        output / "check.json",
        {
            "schema": SCHEMA,
            "looked_at": list(looked_at),
            "errors": errors(found),
            "warnings": len(found) - errors(found),
            "findings": [{name: getattr(one, name) for name in columns} for one in found],
        },
    )


def _printable(text: str) -> str:
    """Without what a terminal would act on: names are a stranger's."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _short(path: str) -> str:
    """The end of a long path."""
    parts = Path(path).parts
    return str(Path("...", *parts[-3:])) if len(path) > 40 and len(parts) > 3 else path
