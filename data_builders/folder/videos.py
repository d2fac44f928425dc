"""The video files of a folder: which row is which file, and what shape they have."""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from aqa_jax.data import cores
from aqa_jax.data.checksums import Checksums, Expected, compare, digest
from aqa_jax.data.decode import Size, count_frames
from aqa_jax.errors import ChecksumError, DataError
from aqa_jax.predict.facts import read_facts
from aqa_jax.predict.inputs import VIDEO_SUFFIXES

from .table import Row


@dataclass(frozen=True)
class Source:
    """One video file.

    Attributes:
      path: of the file.
      size: height and width in pixels, upright.
      fps: frames a second as the container says; 0 where it does not.
      frames: that decode.
      expected: what is recorded of it.
    """

    path: str
    size: Size
    fps: float
    frames: int
    expected: Expected | None = None


def video_files(folder: Path) -> list[str]:
    """Relative posix paths of all video files below `folder`, sorted; hidden ones are none."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith("."):
                found.append(Path(parent, name).relative_to(folder).as_posix())
    return sorted(found)


def match(rows: Sequence[Row], files: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """The file of every row by its id, the problems, and the files that no row names.

    A file is named by its path, with or without suffix, or by its name alone where only one file has it; without regard
    to case where nothing else fits.
    """
    known: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(8)]
    for file in files:
        path = _composed(file)
        name = path.rsplit("/", 1)[-1]
        forms = (path, os.path.splitext(path)[0], name, os.path.splitext(name)[0])
        for index, form in zip(known, (*forms, *(form.lower() for form in forms)), strict=True):
            index[form].append(file)
    found: dict[str, str] = {}
    problems = []
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        wanted = _composed(row.file or row.id)
        tried = [wanted] * 4 + [wanted.lower()] * 4
        candidates = next((index[form] for index, form in zip(known, tried, strict=True) if form in index), [])
        if len(candidates) == 1:
            found[row.id] = candidates[0]
            rows_of[candidates[0]].append(row.number)
        elif candidates:
            problems.append(f"row {row.number}: {wanted!r} may be {' or '.join(candidates)}; give the path in `file`")
        else:
            problems.append(f"row {row.number}: no video {wanted!r} in the folder")
    problems += [
        f"rows {' and '.join(map(str, numbers))}: the same file, {file}"
        for file, numbers in rows_of.items()
        if len(numbers) > 1
    ]
    return found, problems, sorted(set(files) - set(rows_of))


def _composed(text: str) -> str:
    """Letters with accents as one character each: file systems and spreadsheets write them in two ways."""
    return unicodedata.normalize("NFC", text)


def look(folder: Path, files: dict[str, str], row_of: dict[str, int]) -> tuple[dict[str, Source], list[str]]:
    """Decodes every file to its end (`files`: by id); the sources by id, and what is wrong with the others.

    A damaged file is found here, with all others, and not hours later when its turn comes in the build. So is one that
    a SHA256SUMS of the folder lists and that is another now.
    """
    recorded = Checksums(folder)
    known = {file: recorded.of(folder / file) for file in files.values()}

    def one(file: str) -> Source | str:
        path, expected = folder / file, known[file]
        try:
            if expected is not None:
                compare(path, digest(path), expected)
            frames = count_frames(path)
            facts = read_facts(path)
        except ChecksumError as error:
            return str(error)
        except DataError as error:
            return str(error).split(";")[0]
        return Source(str(path), (facts.height, facts.width), facts.fps or 0.0, frames, expected)

    with ThreadPoolExecutor(cores()) as pool:
        results = tqdm(pool.map(one, files.values()), "looking at the videos", len(files), unit="video", disable=None)
        looked = dict(zip(files, results, strict=True))
    sources = {id_: result for id_, result in looked.items() if isinstance(result, Source)}
    numbered = ((row_of[id_], result) for id_, result in looked.items() if isinstance(result, str))
    problems = [f"row {number}: {result}" if number else result for number, result in numbered]
    return sources, problems


def stored_size(sources: Sequence[Source], side: int) -> tuple[Size, int]:
    """The most frequent shape with `side` pixels on its short side, and how many videos have clearly another one."""
    shapes = Counter(_at_side(source.size, side) for source in sources)
    # Of several that are as frequent, the one nearest to a square loses least.
    size = min(shapes, key=lambda shape: (-shapes[shape], max(shape)))
    wide = size[1] / size[0]
    other = sum(not 0.9 < wide / (shape[1] / shape[0]) < 1.1 for shape in shapes.elements())
    return size, other


def _at_side(size: Size, side: int) -> Size:
    short = min(size)
    return round(size[0] * side / short), round(size[1] * side / short)
