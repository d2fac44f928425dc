"""Which files to score: a file, a folder, a pattern, a list of them, or several of these."""

import glob
import itertools
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from aqa_jax.data import checksums
from aqa_jax.errors import DataError
from aqa_jax.files import read_csv

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .webm .wmv".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Inputs:
    """What to score.

    Attributes:
      videos: in order.
      ignored: files beside them that were passed over for their suffix.
      folders: video -> the folder that was asked for, up to which recorded checksums count
        (:mod:`aqa_jax.data.checksums`). Of a video that was named itself its own folder does.
    """

    videos: tuple[Path, ...]
    ignored: tuple[Path, ...] = ()
    folders: Mapping[Path, Path] = field(default_factory=dict)


def find_videos(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, results: Path | None = None
) -> Inputs:
    """Resolves FILE, FOLDER (searched to its depths), GLOB (`**` allowed), a list of these, or a sequence of them.

    A list is `@FILE`, or a file that ends in .txt, with one of them a line, or `-`: standard input. Empty lines and
    those that start with # are passed over. A relative path counts from the working folder, or else from the list's.
    What a list names and does not exist is taken for a video that cannot be read: it does not stop the others. So are a
    device, a pipe and a broken link.

    Videos come sorted, each once. A file that is named itself is taken whatever its suffix; in folders and
    patterns other suffixes are passed over and listed; hidden files are passed over in silence, and so is what lies in
    the folder of the `results`: an earlier call may have drawn videos there.

    Raises:
      DataError: an input does not exist, a list cannot be read, or no video was found.
    """
    items = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    videos: dict[Path, Path] = {}
    ignored: dict[Path, Path] = {}
    folders: dict[Path, Path] = {}
    for path, listed in _named(items):
        named_itself = path.exists() and not path.is_dir()
        if named_itself or (listed and not path.exists() and not glob.glob(str(path), recursive=True)):
            videos.setdefault(path.resolve(), path)
            continue
        folder = _searched(path)
        for found in _candidates(path):
            if results is not None and found.resolve().is_relative_to(results.resolve()):
                continue
            if found.name == checksums.NAME:  # It is read beside the videos.
                continue
            known = found.suffix.lower() in VIDEO_SUFFIXES
            (videos if known else ignored).setdefault(found.resolve(), found)
            folders.setdefault(found, folder)
    passed_over = tuple(sorted(path for real, path in ignored.items() if real not in videos))
    if not videos:
        named = ", ".join(str(item) for item in items) or "an empty list"
        beside = f"; passed over {', '.join(map(str, passed_over[:5]))}" if passed_over else ""
        raise DataError(
            f"no video in {named}{beside}. Known suffixes: {', '.join(sorted(VIDEO_SUFFIXES))}; "
            "name a file itself to have it read whatever its suffix"
        )
    order = tuple(sorted(videos.values()))
    return Inputs(order, passed_over, {path: folders[path] for path in order if path in folders})


def check_file(path: Path) -> None:
    """Raises DataError where `path` is no ordinary file: a pipe or a device might be read for ever."""
    if not path.is_file():
        raise DataError(f"{path}: {'a device, pipe or socket, no video file' if path.exists() else 'no such file'}")


def read_difficulties(path: str | os.PathLike[str]) -> dict[str, float]:
    """Reads a CSV file with the columns `file` (name without folder) and `difficulty`.

    Raises:
      DataError: the file or a column is missing, a name comes twice, or a difficulty is no positive number.
    """
    columns = read_csv(path)
    missing = [name for name in ("file", "difficulty") if name not in columns]
    if missing:
        raise DataError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(columns)}")
    result: dict[str, float] = {}
    for line, (name, text) in enumerate(zip(columns["file"], columns["difficulty"], strict=True), start=2):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{path}, row {line}: the difficulty of {name} is {text!r}, not a positive number")
        if name in result:
            raise DataError(f"{path}, row {line}: {name} comes twice")
        result[name] = value
    return result


def _named(items: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, bool]]:
    """Each path, and whether a list named it."""
    for item in items:
        name = os.fspath(item)
        if name == "-":
            yield from ((Path(line), True) for line in _lines(sys.stdin, "standard input"))
        elif (at := name.startswith("@") and not Path(name).exists()) or (
            name.lower().endswith(".txt") and Path(name).is_file()
        ):
            path = Path(name[1:] if at else name)
            if not path.is_file():
                raise DataError(f"{path} does not exist: a list of videos has one path a line")
            with open(path, encoding="utf-8-sig") as file:
                for line in _lines(file, str(path)):
                    found = Path(line)
                    beside = path.parent / line
                    yield (beside if not found.exists() and beside.exists() else found), True
        else:
            yield Path(item), False


def _lines(file: TextIO, name: str) -> list[str]:
    try:
        lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not text in UTF-8: a list of videos has one path a line") from error
    if any("\0" in line for line in lines):
        raise DataError(f"{name} is not text: a list of videos has one path a line")
    return [line for line in lines if line and not line.startswith("#")]


def _candidates(path: Path) -> list[Path]:
    if path.is_dir():
        found = path.rglob("*")
    else:
        matches = glob.glob(str(path), recursive=True)
        if not matches:
            raise DataError(f"{path} does not exist, and as a pattern it matches nothing")
        found = (Path(match) for match in matches)
    # Hidden below the folder that was asked for; the folder's own path is the user's business.
    base = path if path.is_dir() else Path()
    return [file for file in found if not file.is_dir() and not _hidden(file, base)]


def _searched(path: Path) -> Path:
    """The folder that a folder or a pattern is searched in."""
    if path.is_dir():
        return path
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts[:-1])
    return Path(*fixed)


def _hidden(file: Path, base: Path) -> bool:
    parts = file.relative_to(base).parts if file.is_relative_to(base) else (file.name,)
    return any(part.startswith(".") for part in parts if part not in (".", ".."))
