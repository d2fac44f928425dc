"""Files a person keeps: each is written whole or not at all, and reads back as it was written."""

import csv
import errno
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax.errors import DataError, RunError, StorageError
from aqa_jax.stopping import half_done

_MAX_TEXT_BYTES = 2**28
# A spreadsheet runs a cell that starts with one of these as a formula. The apostrophe marks an escaped cell,
# so it must be escaped itself.
_ESCAPED_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place on success and is removed on an error."""
    target = Path(path)
    # The suffix stays last: matplotlib and others choose the format by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with half_done(temporary.unlink):
                yield temporary
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(temporary, target)
        finally:
            with suppress(OSError):
                temporary.unlink()


_DISK_ERRNOS = {
    errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file may not grow",
    errno.EROFS: "the disk is read-only", errno.EACCES: "no permission", errno.EPERM: "no permission",
    errno.EIO: "the disk fails", errno.ESTALE: "the network disk is gone", errno.ENODEV: "the disk is gone",
}  # fmt: skip


@contextmanager
def storage_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the system says of a full, read-only or failing disk into words; other errors pass.

    Raises:
      StorageError: naming `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRNOS:
            raise
        raise StorageError(
            f"{path} could not be written: {_DISK_ERRNOS[error.errno]} ({error}). What was there before is intact."
        ) from error


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes strict JSON: numpy values become plain numbers and lists.

    Raises:
      RunError: a number is not finite (JSON has no NaN); the message names its place.
    """
    plain = _plain(content, str(path))
    with replacing(path) as temporary:
        text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str], schema: str) -> dict[str, Any]:
    """Reads a JSON object whose "schema" entry must equal `schema`.

    Raises:
      DataError: the file is missing, is not JSON, or has another schema.
    """
    try:
        _check_size(path)
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise DataError(f"{path} has schema {found!r}, this version reads {schema!r}: write it again")
    return content


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Writes columns of equal length with a header line, UTF-8.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; `read_csv` takes it off again.
    None and NaN become empty cells; float32 values are written with the few digits that restore them.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_cell(name) for name in columns])
        writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))


def read_csv(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Reads what `write_csv` wrote: one list of strings a column, escapes removed, empty cells as ''.

    Raises:
      DataError: the file is missing, empty, has a column twice, or a line with another number of
        cells than the header.
    """
    try:
        _check_size(path)
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not lines:
        raise DataError(f"{path} is empty: a header line is needed")
    header, *rows = [[cell.removeprefix("'") for cell in line] for line in lines]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path} has the column {' and '.join(twice)} twice")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path}, row {number}: {len(row)} cells under a header of {len(header)}")
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _check_size(path: str | os.PathLike[str]) -> None:
    """Text is read whole: what cannot be a table of ours is not."""
    if os.path.getsize(path) > _MAX_TEXT_BYTES:
        raise DataError(f"{path} is larger than {_MAX_TEXT_BYTES} bytes, which no table or description here is")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_ESCAPED_STARTS) else value
    if isinstance(value, float | np.floating) and math.isnan(value):
        return ""
    return str(value)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise RunError(f"{where} is {value}: JSON has no such number, and a result must not have one")
    if isinstance(value, os.PathLike):
        return str(value)
    return value
